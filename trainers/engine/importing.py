"""What all imports share: a command line, and a folder that appears whole or not at all."""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from rich.console import Console

from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from _typeshed import DataclassInstance
    from numpy.typing import NDArray
    from rich.table import Table

Summary = TypeVar("Summary", bound="DataclassInstance")

MARKER = "import.json"
SHOWN = 10  # reasons in the sentence; --skip-bad shows them all


def appearing(out: Path, *, force: bool) -> AbstractContextManager[Path]:
    """Give a folder to build a data set in; on leaving it appears as `out` at once.

    `force` replaces an earlier import. Raises what `whole_folder` does.
    """
    hint = "give another --out; --force replaces an earlier import"
    return whole_folder(out, replaces=MARKER if force else None, hint=hint)


def say(folder: Path, about: Mapping[str, Any]) -> None:
    """Leave word of where a data set comes from; by it an earlier import is known."""
    (folder / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array; a full disk is told as what it is, which `numpy.save` does not."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    path.write_bytes(buffer.getbuffer())


def refuse(skipped: Mapping[str, str]) -> None:
    """Refuse an import for the clips that cannot be used.

    Raises:
        TrainerError: with the first of the reasons.
    """
    shown = [f"{path}: {why}" for path, why in list(skipped.items())[:SHOWN]]
    more = [f"and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    count = f"{len(skipped)} clip{'s' * (len(skipped) > 1)} cannot be used, nothing was written"
    raise TrainerError("\n  ".join([count, *shown, *more]), hint="--skip-bad imports the others")


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """Give the parser of an import, with the flags that every import has."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skip-bad", action="store_true", help="leave out unusable clips")
    parser.add_argument("--force", action="store_true", help="replace an earlier import")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    take: Callable[..., Summary],
    show: Callable[[Summary, Console], None],
) -> int:
    """Import what the command line says and print the summary."""
    given = vars(parser.parse_args(argv))
    as_json = given.pop("json")
    summary = take(given.pop("source"), given.pop("out"), **given)
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
    else:
        show(summary, Console())
    return 0


def show_counts(out: str, table: Table, console: Console) -> None:
    """Print where a data set lies now, and what its splits hold."""
    console.print(f"imported into {out}", style="bold cyan", markup=False, soft_wrap=True)
    console.print(table)


def show_skipped(skipped: Mapping[str, str], console: Console) -> None:
    """Print the clips that were left out, each with its reason."""
    for path, why in skipped.items():
        console.print(f"skipped {path}: {why}", markup=False, soft_wrap=True)
