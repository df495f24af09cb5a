"""``gpuops data``: import, check, count or make data sets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.options import Python, complete
from gpuops.cli.streams import raw
from gpuops.cli.verbs import PASS_ON, Trainer, run_module
from gpuops.errors import GpuopsError, UsageError
from gpuops.system.trainers import datasets, layouts, manifests
from gpuops.ui import tables

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
Root = Annotated[Path, typer.Argument(help="The folder of the data set.")]
_complete_kind = complete(
    lambda: sorted({kind for manifest in manifests.load_all() for kind in manifest.importers})
)
QUIET_S = 1.0  # a count that ends sooner shows no progress


@app.command(
    "import",
    context_settings=PASS_ON,
    epilog="Other flags go to the importer: `gpuops data import bvh SRC --out DIR --help`.",
)
def import_(
    ctx: typer.Context,
    kind: Annotated[
        str,
        typer.Argument(
            help="The kind of files; `gpuops trainers list` shows all.",
            autocompletion=_complete_kind,
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The folder to read.")],
    out: Annotated[Path, typer.Option(help="The folder of the data set to make.")],
    trainer: Trainer = None,
) -> None:
    """Convert the files of other tools into a trainer's data layout."""
    for word in (kind, str(source)):
        if word.startswith("-"):
            raise UsageError(
                f"{word} is not a folder to read.",
                "Name kind and folder first: `gpuops data import bvh SRC --out DIR`, then flags.",
            )
    manifest, module = manifests.choose(
        trainer, f"import {kind!r}", lambda one: one.importers.get(kind)
    )
    words = [str(source), "--out", str(out), *ctx.args]
    run_module(sys.executable, module, words, {layouts.TRAINER: manifest.name})


@app.command(context_settings=PASS_ON, epilog="Other flags go to the trainer, like --json.")
def check(ctx: typer.Context, root: Root, trainer: Trainer = None) -> None:
    """Read every sample: name those that cannot be used, show lengths and statistics."""
    _, module = manifests.choose(
        trainer, "check data sets", lambda one: one.answers.check_data, data=root
    )
    run_module(sys.executable, module, [str(root), *ctx.args])


@app.command()
def count(
    root: Root, trainer: Trainer = None, python: Python = None, *, as_json: output.Json = False
) -> None:
    """Count the samples of each split, without reading them."""
    manifest, data = manifests.choose(trainer, "count data sets", lambda one: one.data, data=root)
    with _progress() as tell:
        found = datasets.count_data(manifest, root, python=python or sys.executable, progress=tell)
    output.answer(found, lambda: tables.data_count(found), as_json=as_json)
    splits = data.layout.splits if data.layout else found.samples
    if missing := [split for split in splits if not found.samples.get(split)]:
        raise GpuopsError(
            f"{root} has no samples in: {', '.join(missing)}.",
            f"It holds: {', '.join(found.folders)}. The layout: {data.about}",
        )


@app.command(context_settings=PASS_ON, epilog="Other flags go to the trainer, like --seed.")
def synthetic(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="The folder of the data set to make.")],
    trainer: Trainer = None,
) -> None:
    """Write a trainer's built-in data set as files."""
    _, module = manifests.choose(trainer, "make data sets", lambda one: one.synthetic)
    run_module(sys.executable, module, ["--out", str(out), *ctx.args])


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """Show the progress of a long count on a terminal, and remove it at the end."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()

    def tell(samples: int) -> None:
        if time.monotonic() - begun > QUIET_S:
            print(f"\r{samples:,} samples ...", end="", file=raw(sys.stderr), flush=True)

    try:
        yield tell
    finally:
        print("\r\033[K", end="", file=raw(sys.stderr), flush=True)
