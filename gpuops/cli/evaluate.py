"""``gpuops evaluate``: measure what a run has learned."""

from __future__ import annotations

import typer

from gpuops.cli import output, verbs
from gpuops.cli.runs import Run

app = typer.Typer(add_completion=False)


@app.command(context_settings=verbs.PASS_ON)
def evaluate(
    ctx: typer.Context,
    run: Run,
    data: verbs.Data = None,
    python: verbs.Python = None,
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Measure what a run has learned, by its trainer's own metrics; other flags go to it."""
    words = [*ctx.args, *(["--json"] if as_json else [])]
    verbs.of_run(run, "evaluate", words, data=data, runs_dir=runs_dir, python=python)
