"""Going on without a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


class Child:
    """A process that has gone on; what it says on its pipe is how it began."""

    def __init__(self, reader: int) -> None:
        self._reader = reader

    def began(self) -> str:
        """Wait until it has begun, and give what it says of it; nothing where it died."""
        with os.fdopen(self._reader, errors="replace") as answer:
            return answer.read()


def fork_away() -> Child | Callable[[str], None]:
    """Go on as a process of its own session, without terminal.

    Gives the process that was called a ``Child``, and the one that goes on a function by which to
    say once how it began.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        os.waitpid(child, 0)
        return Child(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(reader)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    os.set_inheritable(writer, False)

    def say(words: str) -> None:
        nonlocal writer
        if writer >= 0:
            os.write(writer, words.encode("utf-8", "replace"))
            os.close(writer)
            writer = -1

    return say
