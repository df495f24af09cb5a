"""Keys by which two failures are recognized as the same defect."""

from __future__ import annotations

import re
from collections.abc import Sequence

REFUSED = "error"  # stands for the exception's type in the key of an error sentence

_REFUSAL = re.compile(r"error(?: \(rank \d+\))?: (.+)")
# How Python itself ends if there is nothing to run: such a script gets no traceback.
PYTHON_REFUSES = re.compile(
    r"(?:SyntaxError|IndentationError|TabError): .+"
    r"|\S*python[\d.]*: (?:No module named|Error while finding module|.+ cannot be directly) .+"
)
_HEADER = re.compile(r"(Original |Exception Group )?Traceback \(most recent call last\):\s*$")
_FRAME = re.compile(r'File "(.+)", line (\d+)(?:, in (.+))?$')
_RAISED = re.compile(r"([A-Za-z_][\w.<>]*)(?::|$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOT_FATAL = ("Exception ignored", "Error in atexit", "Exception in thread")


def traceback_key(stderr: str) -> str | None:
    """The exception type, files, lines and functions of the last whole traceback in a stderr.

    Two tracebacks of the same defect have the same key: messages and addresses, which differ
    between attempts, are left out. Tracebacks that did not end the process (of a thread, of an
    exit handler) count only if there is no other. ``None`` if there is no whole traceback.
    """
    lines = _COLOUR.sub("", stderr).splitlines()
    whole = [
        (lines[number - 1] if number else "", key)
        for number, line in enumerate(lines)
        if _HEADER.search(line) and (key := _key(lines[number + 1 :])) is not None
    ]
    fatal = [key for before, key in whole if not any(words in before for words in _NOT_FATAL)]
    chosen = fatal or [key for _, key in whole]
    return chosen[-1] if chosen else None


def refusal_key(stderr: str) -> str | None:
    """The sentence with which a program ended itself: ``error: …`` at the beginning of a line.

    ``None`` if there is none, or if it is about other ranks: they may be there next time.
    """
    lines = stderr.splitlines()
    errors = [match[1] for line in lines if (match := _REFUSAL.match(line))]
    errors += [line for line in lines[-1:] if PYTHON_REFUSES.fullmatch(line)]
    return None if not errors or "ranks" in errors[-1] else f"{REFUSED} {errors[-1]}"


def _key(lines: Sequence[str]) -> str | None:
    """The key of the traceback with these lines after its header.

    All start at one column: what is before it (``[rank0]: ``, a time, the bars of an exception
    group) is not part of it. The header may stand behind a progress bar.
    """
    frames: list[str] = []
    column = max(0, lines[0].find('  File "')) if lines else 0
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
