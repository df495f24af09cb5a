"""What all imports share: the run over the files, the command line, how the outcome is shown."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _typeshed import DataclassInstance
    from numpy.typing import NDArray
    from rich.table import Table

Item_contra = TypeVar("Item_contra", contravariant=True)
Summary_co = TypeVar("Summary_co", bound="DataclassInstance", covariant=True)

MARKER = "import.json"
SHOWN = 10  # reasons in the message; --skip-bad shows them all


class Importer(Protocol[Item_contra, Summary_co]):
    """Writes samples into a folder, and counts them."""

    skipped: dict[str, str]
    """Why, by the path of each file that cannot be used."""

    def add(self, folder: Path, item: Item_contra) -> None:
        """Write an item's samples below the folder of the data set, or say why not in `skipped`."""

    def finish(self, folder: Path, took_s: float) -> Summary_co:
        """Write what belongs to the whole data set. Raises TrainerError if there is too little."""


def run_import(
    source: Path,
    out: Path,
    items: Sequence[Item_contra],
    importer: Importer[Item_contra, Summary_co],
    *,
    skip_bad: bool,
    force: bool,
    console: Console | None = None,
) -> Summary_co:
    """Import items of `source` one by one into `out`, which appears whole or not at all.

    `force` replaces an earlier import.

    Raises:
        TrainerError: if items cannot be used (unless `skip_bad`) or too few are left, or `out`
            holds something else.
    """
    begun = time.perf_counter()
    console = console or Console(stderr=True)
    hint = "give another --out; --force replaces an earlier import"
    with whole_folder(out, replaces=MARKER if force else None, hint=hint) as building:
        for item in track(items, "importing", console=console, transient=True):
            importer.add(building, item)
        if importer.skipped and not skip_bad:
            _refuse(importer.skipped)
        summary = importer.finish(building, round(time.perf_counter() - begun, 2))
        about = {"source": str(source), **asdict(summary)}
        (building / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return summary


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array; unlike `numpy.save`, with an error that names a full disk."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    path.write_bytes(buffer.getbuffer())


def _refuse(skipped: Mapping[str, str]) -> None:
    """Refuse an import because of the samples that cannot be used.

    Raises:
        TrainerError: with the first of the reasons.
    """
    shown = [f"{path}: {why}" for path, why in list(skipped.items())[:SHOWN]]
    more = [f"and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    count = f"{len(skipped)} file{'s' * (len(skipped) > 1)} cannot be used, nothing was written"
    raise TrainerError("\n  ".join([count, *shown, *more]), hint="--skip-bad imports the others")


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of an import, with the flags that every import has."""
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
    importer: Callable[..., Summary_co],
    show: Callable[[Summary_co, Console], None],
) -> int:
    """Import what the command line says, and print the summary."""
    given = vars(parser.parse_args(argv))
    as_json = given.pop("json")
    summary = importer(given.pop("source"), given.pop("out"), **given)
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
    else:
        show(summary, Console())
    return 0


def show_counts(out: str, table: Table, console: Console) -> None:
    """Print where the data set lies, and what its splits hold."""
    console.print(f"imported into {out}", style="bold cyan", markup=False, soft_wrap=True)
    console.print(table)


def show_skipped(skipped: Mapping[str, str], console: Console) -> None:
    """Print the clips that were left out, each with its reason."""
    for path, why in skipped.items():
        console.print(f"skipped {path}: {why}", markup=False, soft_wrap=True)
