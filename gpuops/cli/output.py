"""Where output goes: stdout is the answer, stderr the commentary."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from gpuops.cli.streams import raw
from gpuops.text import visible

if TYPE_CHECKING:  # rich is a sixth of the time to answer: JSON and --help do without
    from rich.console import Console, RenderableType

PIPE_WIDTH = 200

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunsDir = Annotated[
    Path | None,
    typer.Option(
        "--runs-dir",
        help="Folder of all runs.  [default: $GPUOPS_RUNS_DIR, or ./runs]",
        readable=False,  # we name its owner
    ),
]


def ui(name: str) -> Any:
    """A module of ``gpuops.ui``, for commands that load it only if a person sees the answer."""
    return import_module(f"gpuops.ui.{name}")


def fits_terminal(stream: TextIO) -> bool:
    """Whether output is as wide as the terminal, or as $COLUMNS says; a pipe has no width."""
    return stream.isatty() or "COLUMNS" in os.environ


def stdout() -> Console:
    """The console of answers."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console of commentary."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    # A pipe is wide, so that a sentence stays on its line for grep.
    width = None if fits_terminal(stream) else PIPE_WIDTH
    found: Console = ui("console").TextConsole(
        file=raw(stream), width=width, highlight=False, markup=False, emoji=False
    )
    return found


def answer(value: object, renderable: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a command's answer: as text for people, or as JSON for programs."""
    if as_json:
        print(json_text(value, indent=2))
    else:
        stdout().print(renderable())
    sys.stdout.flush()


def json_text(value: object, indent: int | None = None) -> str:
    """A value as JSON; what a terminal would act upon is spelled as an escape of JSON."""
    return escaped(json.dumps(plain(value), indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """JSON with escapes for what a terminal would act upon."""
    return visible(text, lambda letter: json.dumps(letter)[1:-1])


def comment(renderable: RenderableType) -> None:
    """Print commentary; a word that is wider than the terminal stays whole."""
    stderr().print(renderable, crop=False)


def note(sentence: str) -> None:
    """Print a remark."""
    stderr().print(f"note: {sentence}", style="yellow", soft_wrap=True)


def plain(value: object) -> Any:
    """A value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return str(value) if isinstance(value, Path) else value
