"""``gpuops tensorboard``: show the curves in a browser."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gpuops import run_module
from gpuops.cli import output
from gpuops.cli.runs import complete_run
from gpuops.errors import GpuopsError
from gpuops.system.runs import records, run_dir

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def tensorboard(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(help="A run.  [default: all of them]", autocompletion=complete_run),
    ] = None,
    runs_dir: output.RunsDir = None,
) -> None:
    """Open TensorBoard on a run, or on all runs; other flags (--port, --bind_all) go to it."""
    runs = run_dir.runs_dir(runs_dir)
    folder = records.find(runs, run, "tensorboard") if run is not None else runs
    if not any(folder.glob("**/events.out.tfevents.*")):
        raise GpuopsError(
            f"there are no TensorBoard events in {folder}.", "`gpuops runs list` shows the runs."
        )
    command = [sys.executable, run_module.__file__, "tensorboard.main"]
    command += ["--logdir", str(folder), *ctx.args]
    os.execv(command[0], command)  # noqa: S606 - a list, and TensorBoard takes over the terminal
