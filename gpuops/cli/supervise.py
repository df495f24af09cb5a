"""``gpuops supervise``: look after a run that nobody looks after."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import exit_summary, output
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.launch.launch import recall
from gpuops.supervise.run import Adopted, run_attempts
from gpuops.system.processes import process
from gpuops.system.runs import plan_file, records, run_dir, supervisor_lock
from gpuops.ui import launches

app = typer.Typer(add_completion=False)


@app.command(epilog=EXIT_CODES_HELP)
def supervise(
    run: Annotated[str, typer.Argument(help="A run: `last`, its name, or the beginning of one.")],
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Look after a run whose supervisor has gone: with the same policies, to the same end."""
    root = records.find(run_dir.runs_dir(runs_dir), run)
    records.insist_here(root)
    attempts = records.attempts(root)
    if not (attempts and attempts[-1].alive) and supervisor_lock.holder(root) is None:
        raise UsageError(
            f"run {root.name} does not run.", f"`gpuops launch --resume {root.name}` goes on."
        )
    launch = recall(plan_file.load(root))
    adopted = Adopted(launch=launch, job=process.Job(Path(launch.plan.state_dir)))
    gc.enable()
    with launches.Screen(output.stderr(), brief=launch.manifest is not None) as screen:
        kept = run_attempts(adopted, screen)
    exit_summary.show_end(kept, as_json=as_json)
