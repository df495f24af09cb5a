"""``gpuops evaluate``: measure what a run has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.runs import Run
from gpuops.core import torchrun
from gpuops.errors import UsageError
from gpuops.system import modules, plan_file, run_dir, trainers

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(
    ctx: typer.Context,
    run: Run,
    python: Annotated[
        str | None, typer.Option(help="The interpreter to use.  [default: the run's]")
    ] = None,
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Measure what a run has learned, by its trainer's own metrics; other flags go to it."""
    root = run_dir.find(run_dir.runs_dir(runs_dir), run)
    plan = plan_file.load(root)
    if plan.target.kind != "trainer":
        raise UsageError(
            f"run {plan.run_id} is of the {plan.target.kind} {plan.target.name}, not of a trainer.",
            "Only trainers know how to evaluate; `gpuops trainers list` shows them.",
        )
    manifest = trainers.load(plan.target.name)
    if "evaluate" not in manifest.verbs:
        raise UsageError(f"trainer {manifest.name} does not evaluate.")
    words = ["--checkpoint", str(root), *ctx.args, *(["--json"] if as_json else [])]
    # The run's own data set was named from where it was launched; one named now, from here.
    cwd = None if any(word.startswith("--data") for word in ctx.args) else plan.working_dir
    if python is not None and "/" in python:
        python = str(Path(python).absolute())
    code = modules.hand_over(
        python or plan.python,
        manifest.verbs["evaluate"],
        words,
        cwd=cwd,
        added=torchrun.one_card(plan),
    )
    if code:
        raise typer.Exit(code)
