"""``gpuops cache``: windows of a data set, cut once and kept."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpuops.cli.verbs import PASS_ON
from gpuops.errors import UsageError
from gpuops.system.trainers import manifests, modules

VERB = "cache"

app = typer.Typer(
    help="Build, inspect or verify window caches.", no_args_is_help=True, add_completion=False
)
Trainer = Annotated[str, typer.Option(help="Whose caches.")]
File = Annotated[str, typer.Argument(help="The cache.", metavar="FILE")]
BUILD_FLAGS = (
    "--data ROOT, --split NAME, --save-path FILE; and as in training: --window-size, "
    "--window-stride, --multi-length RATIOS, --max-samples, --pose-fps, --preset, --config. "
    "Also --json."
)


@app.command(context_settings=PASS_ON, epilog=BUILD_FLAGS)
def build(ctx: typer.Context, trainer: Trainer = "rvq") -> None:
    """Cut a split into windows and keep them in a file, without reading the clips."""
    _run(trainer, ["build", *ctx.args])


@app.command(context_settings=PASS_ON, epilog="--json prints all of it.")
def inspect(ctx: typer.Context, file: File, trainer: Trainer = "rvq") -> None:
    """Show what a cache was built with, and how long its windows are."""
    _run(trainer, ["inspect", file, *ctx.args])


@app.command(context_settings=PASS_ON, epilog="--data ROOT where it has moved; --json.")
def verify(ctx: typer.Context, file: File, trainer: Trainer = "rvq") -> None:
    """Compare a cache with its data set: clips, lengths, windows, every byte."""
    _run(trainer, ["verify", file, *ctx.args])


def _run(trainer: str, words: list[str]) -> None:
    manifest = manifests.load(trainer)
    if VERB not in manifest.verbs:
        raise UsageError(f"trainer {trainer} keeps no caches.")
    code = modules.hand_over(sys.executable, manifest.verbs[VERB], words)
    if code:
        raise typer.Exit(code)
