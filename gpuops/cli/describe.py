"""``gpuops describe``: how large a model is, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuops.cli import output, verbs
from gpuops.cli.runs import complete_run

app = typer.Typer(add_completion=False)


@app.command(context_settings=verbs.PASS_ON)
def describe(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(
            help="A run; left out: what the flags of training say (`--preset large`).",
            autocompletion=complete_run,
            show_default=False,
        ),
    ] = None,
    trainer: Annotated[str, typer.Option(help="Whose model, where no run is named.")] = "rvq",
    python: verbs.Python = None,
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Say how large a model is: parameters, memory, arithmetic, and what its codes take."""
    words = [*ctx.args, *(["--json"] if as_json else [])]
    if run is None or run.startswith("-"):
        words = [run, *words] if run is not None else words
        verbs.of_trainer(trainer, "describe", words, python=python)
    else:
        verbs.of_run(run, "describe", words, runs_dir=runs_dir, python=python)
