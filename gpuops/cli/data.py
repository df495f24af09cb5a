"""``gpuops data``: data sets brought in, checked, counted, made up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.verbs import PASS_ON
from gpuops.core.launch.manifest import Manifest
from gpuops.errors import GpuopsError, UsageError
from gpuops.system.trainers import datasets, manifests, modules
from gpuops.ui import tables

app = typer.Typer(
    help="Import, check, count or make data sets.", no_args_is_help=True, add_completion=False
)
Trainer = Annotated[str, typer.Option(help="Whose data layout.")]
QUIET_S = 1.0  # a count that is done by then needs no progress
CHECK = "check_data"


@app.command(
    "import",
    context_settings=PASS_ON,
    epilog="All: --skip-bad, --force, --json. bvh: --val-share SHARE, --unit UNIT. "
    "seamless: --min-frames N, --keypoints.",
)
def import_(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="What to read: bvh, seamless.")],
    source: Annotated[Path, typer.Argument(help="The folder to read.")],
    out: Annotated[Path, typer.Option(help="The data set's folder to make.")],
    trainer: Trainer = "rvq",
) -> None:
    """Turn other people's files into a trainer's data layout."""
    manifest = manifests.load(trainer)
    for word in (kind, str(source)):
        if word.startswith("-"):
            raise UsageError(
                f"{word} is no folder to read.",
                "Name kind and folder first: `gpuops data import bvh SRC --out DIR`, then flags.",
            )
    if kind not in manifest.importers:
        raise UsageError(
            f"{trainer} does not import {kind!r}.",
            f"It imports: {', '.join(manifest.importers) or 'nothing'}.",
        )
    _run(manifest.importers[kind], [str(source), "--out", str(out), *ctx.args])


@app.command(context_settings=PASS_ON, epilog="--split NAME looks at one alone; --json.")
def check(
    ctx: typer.Context,
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    trainer: Trainer = "rvq",
) -> None:
    """Read every sample: name those that cannot be used, draw lengths, describe features."""
    manifest = manifests.load(trainer)
    if CHECK not in manifest.verbs:
        raise UsageError(f"trainer {trainer} does not check data sets.")
    _run(manifest.verbs[CHECK], [str(root), *ctx.args])


@app.command()
def count(
    root: Annotated[Path, typer.Argument(help="The data set's folder.")],
    trainer: Trainer = "rvq",
    *,
    as_json: output.Json = False,
) -> None:
    """Count the samples of each split, without reading them."""
    manifest = manifests.load(trainer)
    if manifest.data is None:
        raise UsageError(f"{trainer} has no data layout to count by.")
    with _progress() as tell:
        found = datasets.count(root, manifest.data, tell=tell)
    output.answer(found, lambda: tables.data_count(found), as_json=as_json)
    missing = [split for split in manifest.data.splits if not found.samples.get(split)]
    if missing:
        raise GpuopsError(
            f"{root} has no samples in: {', '.join(missing)}.",
            f"It holds: {', '.join(found.folders)}. The layout: {manifest.data.about}",
        )


@app.command(context_settings=PASS_ON, epilog="--seed N makes others.")
def synthetic(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="The data set's folder to make.")],
    trainer: Trainer = "rvq",
) -> None:
    """Write a trainer's built-in data set as files, to try things on."""
    manifest: Manifest = manifests.load(trainer)
    if manifest.synthetic is None:
        raise UsageError(f"{trainer} has no built-in data set.")
    _run(manifest.synthetic, ["--out", str(out), *ctx.args])


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """Say on a terminal how far a count is that takes its time, and take it back in the end."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()

    def tell(samples: int) -> None:
        if time.monotonic() - begun > QUIET_S:
            print(f"\r{samples:,} samples ...", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _run(module: str, arguments: list[str]) -> None:
    code = modules.hand_over(sys.executable, module, arguments)
    if code:
        raise typer.Exit(code)
