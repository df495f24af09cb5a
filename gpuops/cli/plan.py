"""``gpuops plan``: what a launch would run, also on another host."""

from __future__ import annotations

import typer

from gpuops.cli import options
from gpuops.cli.launch import launch

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
app.command(
    name="plan",
    **options.COMMAND,
    help="Show what a launch would run: `launch --dry-run`.\n\n"
    "`gpuops plan rvq --profile 7x4090 --simulate 8x4090` works on a laptop too.",
)(launch)
