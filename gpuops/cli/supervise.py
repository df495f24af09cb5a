"""``gpuops supervise``: take over a run whose supervisor has ended."""

from __future__ import annotations

import typer

from gpuops.cli import exit_summary, output
from gpuops.cli.runs import Run
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.system.runs import records, run_dir, supervisor_lock

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def supervise(run: Run, runs_dir: output.RunsDir = None, *, as_json: output.Json = False) -> None:
    """Supervise a run whose supervisor has ended, with the same policies."""
    root = records.find(run_dir.runs_dir(runs_dir), run)
    records.insist_here(root)
    if not records.is_running(root) and supervisor_lock.holder(root) is None:
        raise UsageError(
            f"run {root.name} is not running.",
            f"`gpuops launch --resume {root.name}` continues it.",
        )
    exit_summary.supervise_to_the_end(root, as_json=as_json)
