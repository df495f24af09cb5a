"""``gpuops encode``: a data set as the codes that a run has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output, verbs
from gpuops.cli.runs import Run

app = typer.Typer(add_completion=False)


@app.command(context_settings=verbs.PASS_ON)
def encode(
    ctx: typer.Context,
    run: Run,
    out: Annotated[Path, typer.Option(help="The file of codes to write (.npz).")],
    data: verbs.Data = None,
    python: verbs.Python = None,
    runs_dir: output.RunsDir = None,
) -> None:
    """Write a split as codes; `--split train` names another one, other flags go to the trainer."""
    words = ["--out", str(out.absolute()), *ctx.args]
    verbs.of_run(run, "encode", words, data=data, runs_dir=runs_dir, python=python)
