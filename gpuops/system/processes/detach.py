"""Going on without a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable


def fork_away() -> str | Callable[[str], None]:
    """Go on as a process of its own session, without terminal.

    The process that goes on gets a function by which it reports once how it began. The calling
    process waits for this report and gets it; it is empty if the other process died.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader, errors="replace") as report:
            return report.read()
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    os.set_inheritable(writer, False)

    def report_start(words: str) -> None:
        nonlocal writer
        if writer >= 0:
            with contextlib.suppress(OSError):  # the launching process has gone: the job goes on
                os.write(writer, words.encode("utf-8", "replace"))
            os.close(writer)
            writer = -1

    return report_start
