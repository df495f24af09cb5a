"""``gpuops decode``: codes back to a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output, verbs
from gpuops.cli.runs import Run

app = typer.Typer(add_completion=False)


@app.command(context_settings=verbs.PASS_ON)
def decode(
    ctx: typer.Context,
    run: Run,
    codes: Annotated[Path, typer.Argument(help="What `gpuops encode` wrote.")],
    out: Annotated[Path, typer.Option(help="The data set's folder to make.")],
    python: verbs.Python = None,
    runs_dir: output.RunsDir = None,
) -> None:
    """Turn codes back into a data set, by the very weights that coded it."""
    words = [str(codes.absolute()), "--out", str(out.absolute()), *ctx.args]
    verbs.of_run(run, "decode", words, runs_dir=runs_dir, python=python)
