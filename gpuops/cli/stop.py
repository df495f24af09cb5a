"""``gpuops stop``: let a run save and leave, wherever it was launched."""

from __future__ import annotations

import gc
import signal
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
def stop(
    run: Annotated[str, typer.Argument(help="A run: `last`, its name, or the beginning of one.")],
    runs_dir: output.RunsDir = None,
    *,
    now: Annotated[bool, typer.Option("--now", help="At once: it does not get to save.")] = False,
) -> None:
    """Let a run save and leave, and wait for its end."""
    root = records.find(run_dir.runs_dir(runs_dir), run)
    records.insist_here(root)
    supervisor = supervisor_lock.holder(root)
    if supervisor is not None:
        supervisor_lock.retire([root], now=now)
    attempts = records.attempts(root)
    alive = bool(attempts) and attempts[-1].alive
    if supervisor is not None and not alive:
        print(f"{root.name} has stopped.")
        return
    if not alive:
        raise UsageError(f"run {root.name} does not run.", f"`gpuops runs show {root.name}`")
    launch = recall(plan_file.load(root))
    gc.enable()
    with launches.Screen(output.stderr(), brief=launch.manifest is not None) as screen:
        kept = run_attempts(
            Adopted(launch=launch, job=process.Job(Path(launch.plan.state_dir))),
            screen,
            begun=lambda _run_id: _raise(times=2 if now else 1),
        )
    exit_summary.show_end(kept, as_json=False)


def _raise(times: int) -> None:
    for _ in range(times):
        signal.raise_signal(signal.SIGTERM)
