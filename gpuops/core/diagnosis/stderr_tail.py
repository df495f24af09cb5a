"""The end of a process's stderr: its traceback, its error sentence, or its last log lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from gpuops.core.diagnosis.stack import Frame, own_frame
from gpuops.core.diagnosis.traceback_key import PYTHON_REFUSES

TRAILING = 30  # lines that may follow a traceback which ended the process
LAST = 15

_NOISE = re.compile(r"^(?:\[\w+\]:)?\[rank\d+\]: ?|\x1b\[[0-9;]*m", re.MULTILINE)
# A progress bar or a message without a newline may stand before it.
_HEADER = re.compile(r".*?(?:Original )?Traceback \(most recent call last\):")
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+),? in (?P<function>.+)')
_RAISED = re.compile(r"(?P<type>[A-Za-z_][\w.]*)(?:: .*)?")
_FATAL = re.compile(r"Fatal Python error: .+")
_SENTENCE = re.compile(r"(?:[\w./-]+: )?error(?: \(rank \d+\))?: (?P<words>.+)", re.IGNORECASE)
_HINT = re.compile(r"hint: (?P<words>.+)", re.IGNORECASE)
# It then sends SIGINT to its own process, as if a person had pressed Ctrl-C.
_STARVED = re.compile(r"OpenBLAS .*pthread_create failed")
_ACCIDENT = "During handling of the above exception"


@dataclass(frozen=True, slots=True, kw_only=True)
class StderrTail:
    """The end of a stderr. ``text`` may tell the cause; ``message`` is its most important line.

    ``type``: the exception that ended the process; ``frames``: its place, the innermost first;
    ``source``: the line of code that raised it; ``hint``: the program's own hint; ``sentence``:
    whether it ended with an ``error: …`` line.
    """

    message: str = ""
    text: str = ""
    type: str | None = None
    frames: tuple[Frame, ...] = ()
    source: str = ""
    hint: str = ""
    sentence: bool = False

    @property
    def place(self) -> Frame | None:
        """The innermost line of the user's own code."""
        return own_frame(self.frames)


@dataclass(frozen=True, slots=True)
class _Traceback:
    """One traceback, from its header to the line that names the exception."""

    begin: int
    end: int
    type: str
    frames: tuple[Frame, ...]
    source: str


def parse_stderr(stderr: str) -> StderrTail:
    """Parse the end of a rank's stderr."""
    lines = [line.rstrip() for line in _NOISE.sub("", stderr).splitlines() if line.strip()]
    root, after = _root(lines)
    sentences = [n for n in range(after, len(lines)) if _SENTENCE.fullmatch(lines[n])]
    if sentences and len(lines) - sentences[-1] <= LAST:
        return _as_sentence(lines[sentences[-1] :])
    if root is not None and root.type == "KeyboardInterrupt":
        starved = next((line for line in lines if _STARVED.match(line)), None)
        if starved is not None:
            return StderrTail(message=starved, text=starved, sentence=True)
    if root is not None and len(lines) - after <= TRAILING:
        message = lines[root.end]
        found = StderrTail(message=message, text=message, type=root.type, frames=root.frames)
        return replace(found, source=root.source)
    if lines and PYTHON_REFUSES.fullmatch(lines[-1]):
        return StderrTail(message=lines[-1], text=lines[-1], sentence=True)
    fatal = next((n for n, line in enumerate(lines) if _FATAL.fullmatch(line)), None)
    message = lines[-1 if fatal is None else fatal] if lines else ""
    frames = () if fatal is None else _frames(lines[fatal + 2 :])
    return StderrTail(message=message, text="\n".join(lines[-LAST:]), frames=frames)


def _as_sentence(lines: Sequence[str]) -> StderrTail:
    match = _SENTENCE.fullmatch(lines[0])
    hints = [hint["words"] for line in lines[1:] if (hint := _HINT.fullmatch(line))]
    message = match["words"].removesuffix(".") if match else ""  # it goes into other sentences
    return StderrTail(message=message, text=message, hint=hints[0] if hints else "", sentence=True)


def _root(lines: Sequence[str]) -> tuple[_Traceback | None, int]:
    """The exception that matters in the last chain of them, and the line after the chain.

    An exception raised *from* another explains it better than the other; one raised while another
    was handled (mostly during teardown) does not.
    """
    root: _Traceback | None = None
    after = 0
    for traceback in _tracebacks(lines):
        between = "\n".join(lines[after : traceback.begin])
        if root is None or _ACCIDENT not in between:
            root = traceback
        after = traceback.end + 1
    return root, after


def _tracebacks(lines: Sequence[str]) -> list[_Traceback]:
    found: list[_Traceback] = []
    for begin, line in enumerate(lines):
        if not _HEADER.fullmatch(line):
            continue
        indented = list(takewhile(lambda line: line.startswith(" "), lines[begin + 1 :]))
        end = begin + 1 + len(indented)
        raised = _RAISED.fullmatch(lines[end]) if end < len(lines) else None
        if raised is not None:
            frames = tuple(reversed(_frames(indented)))
            code = (line.strip() for line in reversed(indented) if line.strip(" ^~"))
            source = next(code, "")
            found.append(_Traceback(begin, end, raised["type"], frames, source))
    return found


def _frames(lines: Sequence[str]) -> tuple[Frame, ...]:
    indented = takewhile(lambda line: line.startswith(" "), lines)
    return tuple(
        Frame(function=match["function"], file=match["file"], line=int(match["line"]))
        for line in indented
        if (match := _FRAME.fullmatch(line))
    )
