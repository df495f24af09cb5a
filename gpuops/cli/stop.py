"""``gpuops stop``: let a run save a checkpoint and end."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import exit_summary, output
from gpuops.cli.runs import Run, require_active
from gpuops.errors import EXIT_CODES_HELP
from gpuops.supervise import supervisor
from gpuops.system.processes.process import Job
from gpuops.system.runs import ownership, plan_file, records, run_dir, supervisor_lock

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def stop(
    run: Run,
    runs_dir: output.RunsDir = None,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Kill it at once, without a checkpoint.")
    ] = False,
) -> None:
    """Stop a run: it saves a checkpoint and ends. The command returns when it has ended."""
    root = records.find(run_dir.runs_dir(runs_dir), run, "stop")
    ownership.require_may_act(root, "stop")
    require_active(root, "`gpuops runs show RUN` tells how it went.")
    supervisor_lock.retire([root], now=now)
    if not records.is_running(root):
        ended = records.load(root)
        done = "finished" if ended is not None and ended.status == "finished" else "stopped"
        print(f"{root.name} has {done}.")
        return
    records.require_proven(root)
    if not ownership.is_ours(root):
        plan = replace(plan_file.load(root), run_dir=str(root))
        supervisor.end(plan, Job(Path(plan.state_dir)), now=now)
        print(f"{root.name} has stopped.")
        return

    def ask(_run_id: str) -> None:
        for _ in range(2 if now else 1):
            signal.raise_signal(signal.SIGTERM)

    exit_summary.supervise_to_the_end(root, begun=ask)
