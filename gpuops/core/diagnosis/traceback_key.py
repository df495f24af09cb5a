"""What two tracebacks of one defect have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

REFUSED = "error"  # what stands for the exception's type in the key of a sentence

_REFUSAL = re.compile(r"error(?: \(rank \d+\))?: (.+)")
_HEADER = re.compile(r"(Original |Exception Group )?Traceback \(most recent call last\):\s*$")
_FRAME = re.compile(r'File "(.+)", line (\d+)(?:, in (.+))?$')
_RAISED = re.compile(r"([A-Za-z_][\w.<>]*)(?::|$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOT_FATAL = ("Exception ignored", "Error in atexit", "Exception in thread")


def traceback_key(stderr: str) -> str | None:
    """What two tracebacks of the same defect share: exception type, files, lines, functions.

    Of the last whole traceback in what a rank said; messages and addresses, which differ from one
    time to the next, are left out, and so are tracebacks that ended nothing (of a thread, of an
    exit handler) where there is one that did. ``None`` where there is no whole one.
    """
    lines = _COLOUR.sub("", stderr).splitlines()
    keys = [
        (lines[number - 1] if number else "", _key(lines[number + 1 :], header.start()))
        for number, line in enumerate(lines)
        if (header := _HEADER.search(line))
    ]
    whole = [(before, key) for before, key in keys if key is not None]
    fatal = [key for before, key in whole if not any(words in before for words in _NOT_FATAL)]
    chosen = fatal or [key for _, key in whole]
    return chosen[-1] if chosen else None


def refusal_key(stderr: str) -> str | None:
    """The sentence with which a program ended itself: ``error: …``, alone at a line's beginning.

    ``None`` where it said none, or where it speaks of other ranks: they may be there next time.
    """
    said = [match[1] for line in stderr.splitlines() if (match := _REFUSAL.match(line))]
    return None if not said or "ranks" in said[-1] else f"{REFUSED} {said[-1]}"


def _key(lines: Sequence[str], column: int) -> str | None:
    """The key of the traceback whose header stands in ``column``: so do its other lines.

    What stands before it (``[rank0]: ``, a time, the bars of an exception group) is no part of it.
    """
    frames: list[str] = []
    for line in lines:
        body = line[column:]
        frame, raised = _FRAME.search(body), _RAISED.match(body)
        if _HEADER.search(line):
            return None  # cut off by the next one
        if frame and body.startswith(" "):
            frames.append(":".join(part for part in frame.groups() if part))
        elif raised and frames:
            return " ".join([raised[1], *frames])
    return None
