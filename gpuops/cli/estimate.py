"""``gpuops estimate``: whether a training run fits in GPU memory, computed without a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from gpuops.cli import options, output
from gpuops.cli.hints import hint_launch_flags
from gpuops.core.launch.options import LaunchOptions
from gpuops.errors import ExitCode, UsageError
from gpuops.launch.estimate import estimate as assess
from gpuops.system.trainers import manifests
from gpuops.ui import estimates

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
Trainer = Annotated[
    str | None,
    options.argument(
        metavar="TRAINER",
        help="A trainer (rvq); its own flags may follow.",
        autocompletion=options.complete_trainer,
    ),
]
# The options of a launch that change the memory. Only a trainer can estimate its steps.
SHARED = ("profile", "nproc_per_node", "python", "data", "configs", "simulate")
OPTIONS = {"name": Trainer, **{name: options.PLANNING[name] for name in SHARED}}


@app.command(
    **options.COMMAND,
    help="Compute the GPU memory of a training step, and what fits. No GPU is needed.\n\n"
    "`gpuops estimate rvq --profile 7x4090 --batch-size 512` · the flags of training follow",
    rich_help_panel="Jobs",
)
@options.takes(OPTIONS)
def estimate(ctx: typer.Context, typed: LaunchOptions, *, as_json: output.Json = False) -> None:
    """Compute the GPU memory of a training step, and what fits."""
    name, simulated = typed.name, typed.simulate
    if name is None or name.startswith("-"):
        raise UsageError("say which trainer.", f"The trainers: {', '.join(manifests.names())}.")
    screen = output.stderr()
    working = f"rehearsing a step of {name}, without data and GPU"
    with screen.status(working) if screen.is_terminal else nullcontext(), hint_launch_flags(ctx):
        found = assess(typed)
    if found.note:
        output.note(found.note)
    need, gpu, beside, fit = found.estimate, found.gpu, found.beside, found.fit
    output.answer(
        {"simulated": simulated, "estimate": need, "gpu": gpu, "beside": beside, "fit": fit},
        lambda: estimates.estimate(name, need, gpu, beside, fit, simulated),
        as_json=as_json,
    )
    if fit.fits is False:
        raise typer.Exit(int(ExitCode.FAILED))
