"""``gpuops attach``: watch a run that was launched elsewhere."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import typer

from gpuops.cli import output
from gpuops.cli.runs import Run, find_to_show, require_active
from gpuops.core.hang.detector import HangPolicy
from gpuops.core.run.record import describe_stopped
from gpuops.core.supervision.attempt import Phase
from gpuops.errors import EXIT_CODES_HELP
from gpuops.launch.launch import recall
from gpuops.supervise.observer import AttemptObserver
from gpuops.supervise.supervisor import POLL_S
from gpuops.system.processes import process
from gpuops.system.runs import ownership, plan_file, records, supervisor_lock
from gpuops.ui import launches

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def attach(run: Run, runs_dir: output.RunsDir = None) -> None:
    """Show the progress of a run that was launched elsewhere. Ctrl-C ends only the display."""
    root = find_to_show(run, runs_dir, "attach")
    require_active(root, "`gpuops runs show RUN` tells how it went.")
    ours = ownership.is_ours(root)
    if ours and supervisor_lock.holder(root) is None:
        output.note(f"it has no supervisor: `gpuops supervise {root.name}` starts one.")
    elif words := describe_stopped(supervisor_lock.stopped(root)):
        output.note(f"it is {words}.")
    try:
        while _follow_attempt(root):
            pass  # it was started again
    except KeyboardInterrupt:
        stop = f"gpuops stop {root.name}" if ours else ownership.as_owner(root, "stop")
        output.note(f"{root.name} goes on: `{stop}` ends it.")
        return
    record = records.load(root)
    print(f"{root.name} {record.status if record else 'is gone'}")


def _follow_attempt(root: Path) -> bool:
    """Show one attempt to its end; whether another one follows."""
    plan = replace(plan_file.load(root), run_dir=str(root))
    launch = recall(plan)
    job = process.Job(Path(plan.state_dir))
    while job.pid is None and supervisor_lock.holder(root) is not None:
        time.sleep(POLL_S)  # it is just being started
    with (
        launches.Screen(output.stderr(), brief=launch.manifest is not None) as screen,
        AttemptObserver(launch, HangPolicy()) as observer,
    ):
        while job.poll() is None:
            observer.poll(job)
            screen.show(observer.snapshot(Phase.RUNNING if observer.begun else Phase.STARTING))
            time.sleep(POLL_S)
    while supervisor_lock.holder(root) is not None:
        if records.next_attempt(root) > plan.attempt + 1:
            return True
        time.sleep(POLL_S)
    return False
