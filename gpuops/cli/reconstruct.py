"""``gpuops reconstruct``: what comes back of a sample, to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output, verbs
from gpuops.cli.runs import Run

app = typer.Typer(add_completion=False)


@app.command(context_settings=verbs.PASS_ON)
def reconstruct(
    ctx: typer.Context,
    run: Run,
    out: Annotated[Path, typer.Option(help="The picture (.png) or film (.gif, .mp4) to write.")],
    clip: Annotated[
        list[str] | None, typer.Option("--clip", help="This one; may be repeated.")
    ] = None,
    data: verbs.Data = None,
    python: verbs.Python = None,
    runs_dir: output.RunsDir = None,
) -> None:
    """Draw samples and what came back of them side by side; other flags go to the trainer."""
    named = [word for name in clip or () for word in ("--clip", name)]
    words = ["--out", str(out.absolute()), *named, *ctx.args]
    verbs.of_run(run, "reconstruct", words, data=data, runs_dir=runs_dir, python=python)
