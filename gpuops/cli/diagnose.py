"""``gpuops diagnose``: why a job makes no progress, or why it ended."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.diagnose import crashed, diagnose_processes, examine, newest
from gpuops.errors import EXIT_CODES_HELP, ExitCode, GpuopsError, UsageError
from gpuops.system.processes import jobs, process
from gpuops.system.runs import events, plan_file, rank_logs, records, run_dir
from gpuops.ui import diagnoses

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def diagnose(
    what: Annotated[
        str, typer.Argument(metavar="RUN|PID", help="A run (`last`), or a process ID.")
    ],
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Show why a job makes no progress, or why it ended. The job is not disturbed."""
    if what.isascii() and what.isdecimal():
        found = _of_process(int(what))
    else:
        found = _of_run(records.find(run_dir.runs_dir(runs_dir), what))
    output.answer(asdict(found), lambda: diagnoses.diagnosis(found), as_json=as_json)
    if not found.sure:
        raise typer.Exit(int(ExitCode.FAILED))


def _of_run(root: Path) -> Diagnosis:
    """Diagnose a running run now; of one that has ended, return the supervisor's diagnosis.

    If it had no supervisor when it ended, it is diagnosed now.
    """
    records.insist_here(root)
    attempts = records.attempts(root)
    if attempts and attempts[-1].returncode and not events.was_watched(root, attempts[-1].number):
        plan = plan_file.load(root)
        rank_logs.link(plan)
        return crashed(plan, attempts[-1].returncode)
    if attempts and attempts[-1].alive:
        plan = plan_file.load(root)
        return examine(plan, process.Job(Path(plan.state_dir)))
    found = newest(root)
    if found is None:
        raise GpuopsError(
            f"run {root.name} has ended, and nothing was wrong with it.",
            f"`gpuops runs show {root.name}` tells how it went.",
        )
    return found


def _of_process(pid: int) -> Diagnosis:
    """Diagnose the training job of a process, also one that gpuops did not start."""
    for job in jobs.find():
        ranks = {one.rank: jobs.identity(one) for one in job.ranks if one.rank is not None}
        if any(one.pid == pid for one in job.processes) and ranks:
            return diagnose_processes(ranks, None)
    raise UsageError(
        f"process {pid} belongs to no training job that can be seen.",
        "`gpuops kill-hung --dry-run` lists the jobs of this host.",
    )
