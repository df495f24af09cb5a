"""The edge where text leaves gpuops: what stdout and stderr pass on, and what if they fail.

Values are kept as they were read: a name stays the name of its file. They become harmless here,
which everything that is printed passes, so that no command can forget it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from gpuops.errors import GpuopsError
from gpuops.text import REPLACE, visible


class AnswerLostError(GpuopsError):
    """The answer of a command cannot be written."""


class ReaderGoneError(AnswerLostError):
    """The reader of the answer has gone, as `head` does; of OSError Typer would make code 1."""


class TextOnly:
    """A stream for ``print`` and tracebacks: what a terminal would act upon is replaced.

    Rich writes to ``rich_proxied_file`` instead: colours are its own, and ``ui.console`` cleans the
    texts.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write text."""
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        self.write("".join(lines))


class _Guarded:
    """A stream, and what to do if it cannot be written: on a full disk, without a reader."""

    def __init__(self, stream: Any, lost: Callable[[Any, OSError], None]) -> None:
        self.stream, self._lost = stream, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self._try(self.stream.write, text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        self._try(self.stream.flush)
        self._try(self.stream.buffer.write, data)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, do: Callable[..., object], *given: object) -> None:
        try:
            do(*given)
        except OSError as error:
            self._lost(self.stream, error)


def install() -> None:
    """Let only text out, in any encoding; what is written to a missing stream is dropped."""
    _open_missing()
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    out = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    err = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACE)
    wrapped: Any = (TextOnly(_Guarded(out, _answer_lost)), TextOnly(_Guarded(err, _comment_lost)))
    sys.stdout, sys.stderr = wrapped


def raw(stream: Any) -> Any:
    """The stream below what cleans it: for rich, for text that is clean, and for bytes."""
    while (below := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = below
    return stream


def finish() -> None:
    """Write what is left. What cannot be written is dropped, or Python would end with code 120."""
    for stream in map(raw, (sys.stdout, sys.stderr)):
        try:
            stream.stream.flush()
        except OSError:
            _discard(stream.stream)


def _open_missing() -> None:
    """Open the standard descriptors that are closed: else the next file would take their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _answer_lost(stream: Any, error: OSError) -> None:
    """A command whose answer is lost has failed."""
    _discard(stream)
    if isinstance(error, BrokenPipeError):
        raise ReaderGoneError("the answer has no reader any more.") from error
    raise AnswerLostError(f"the answer cannot be written: {error.strerror}.") from error


def _comment_lost(_stream: Any, _error: OSError) -> None:
    """A job goes on, even if its user cannot be told about it."""


def _discard(stream: Any) -> None:
    """Drop what a stream holds back, and what comes after it."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
