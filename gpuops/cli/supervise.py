"""``gpuops supervise``: take over a run whose supervisor has ended."""

from __future__ import annotations

import typer

from gpuops.cli import exit_summary, output
from gpuops.cli.runs import Run, require_active
from gpuops.errors import EXIT_CODES_HELP
from gpuops.system.runs import ownership, records, run_dir

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def supervise(run: Run, runs_dir: output.RunsDir = None, *, as_json: output.Json = False) -> None:
    """Supervise a run whose supervisor has ended, with the same policies."""
    root = records.find(run_dir.runs_dir(runs_dir), run, "supervise")
    ownership.require_ours(root, "supervise")
    require_active(root, "`gpuops launch --resume RUN` continues it.")
    exit_summary.supervise_to_the_end(root, as_json=as_json)
