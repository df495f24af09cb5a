"""``gpuops diagnose``: why a job makes no progress, or why it ended."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.runs import find_to_show
from gpuops.core.diagnosis.diagnosis import Diagnosis, EndedWell
from gpuops.core.diagnosis.torchrun_failure import signal_name
from gpuops.core.run.record import Attempt
from gpuops.diagnose import crashed_unwatched, diagnose_processes, examine, newest
from gpuops.errors import EXIT_CODES_HELP, ExitCode, GpuopsError, UsageError
from gpuops.system import owners
from gpuops.system.processes import identity, jobs, process
from gpuops.system.runs import (
    events,
    ownership,
    plan_file,
    rank_logs,
    records,
    supervisor_lock,
)
from gpuops.ui import diagnoses

LONGEST_PID = 10  # digits
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
    if what.isascii() and what.isdecimal() and len(what) <= LONGEST_PID:
        found = _of_process(int(what))
    else:
        root = find_to_show(what, runs_dir, "diagnose")
        if (ended := _ended_well(root)) is not None:
            value = {"kind": None, "rank": None, "sure": True, **asdict(ended)}
            output.answer(value, lambda: diagnoses.ended_well(ended), as_json=as_json)
            return
        found = _of_run(root)
    output.answer(asdict(found), lambda: diagnoses.diagnosis(found), as_json=as_json)
    if not found.sure:
        raise typer.Exit(int(ExitCode.FAILED))


def _ended_well(root: Path) -> EndedWell | None:
    """How a run ended that finished, or that a person stopped while nothing was wrong with it."""
    run = records.load(root)
    if run is None or run.status not in {"finished", "stopped"}:
        return None
    if supervisor_lock.holder(root) is not None or records.is_running(root):
        return None
    if run.status == "stopped" and newest(root, run.attempts[-1].number) is not None:
        return None
    last = events.last(root, "attempt_ended") or {}
    number = last.get("stop_signal") if last.get("outcome") == "stopped" else None
    how = f" ({signal_name(-number)})" if isinstance(number, int) else ""
    why = "it finished" if run.status == "finished" else f"it was stopped by a person{how}"
    return EndedWell(run=root.name, why=why, earlier=newest(root))


def _of_run(root: Path) -> Diagnosis:
    """Diagnose a running run now; of one that failed, return the supervisor's diagnosis.

    If it had no supervisor when it ended, it is diagnosed now. Of another user's run, the diagnosis
    of its supervisor is all that may be seen.
    """
    records.require_this_host(root)
    found, attempts = newest(root), records.attempts(root)
    last = attempts[-1] if attempts else None
    unwatched = last is not None and _ended_unwatched(root, last)
    if unwatched or (last and last.alive):
        if found is not None and not ownership.may_act(root):
            shown = ownership.as_owner(root, "diagnose")
            output.note(f"this is what its supervisor found last; `{shown}` diagnoses it now.")
            return found
        ownership.require_may_act(root, "diagnose")
        records.require_proven(root)
        plan = replace(plan_file.load(root), run_dir=str(root))
        job = process.Job(Path(plan.state_dir))
        deserted = job.poll() is not None and supervisor_lock.holder(root) is None
        if deserted and (left := records.describe_left(root)):
            ends = f"`gpuops stop {root.name}` ends what lives on: {left}"
            output.note(f"its supervisor and its reaper have gone; {ends}.")
        if not unwatched and (not deserted or job.ranks()):
            return examine(plan, job)
        if unwatched:
            output.note("no supervisor saw it end: this is what it left behind.")
        rank_logs.link(plan)
        return crashed_unwatched(plan)
    if found is None and supervisor_lock.holder(root) is not None:
        raise GpuopsError(
            f"run {root.name} is between two attempts.", f"`gpuops attach {root.name}` shows it."
        )
    if found is None:
        raise GpuopsError(
            f"run {root.name} has ended, and no diagnosis of it was kept.",
            f"`gpuops runs show {root.name}` tells how it went.",
        )
    return found


def _ended_unwatched(root: Path, last: Attempt) -> bool:
    """Whether an attempt failed, or vanished without a record of its end, and was not watched."""
    if not last.returncode and (last.returncode == 0 or last.alive):
        return False
    watched = events.was_watched(root, last.number) or supervisor_lock.holder(root) is not None
    return not watched and not last.hidden


def _of_process(pid: int) -> Diagnosis:
    """Diagnose the training job of a process, also one that gpuops did not start."""
    for job in jobs.find():
        ranks = {one.rank: jobs.identity(one) for one in job.ranks if one.rank is not None}
        if any(one.pid == pid for one in job.processes) and ranks:
            return diagnose_processes(ranks, None)
    if (uid := identity.user(pid)) not in {None, os.geteuid()}:
        raise UsageError(
            f"process {pid} belongs to {owners.name(uid)}: its stack cannot be read.",
            f"`sudo -u {owners.name(uid)} gpuops diagnose {pid}` reads it.",
        )
    raise UsageError(
        f"process {pid} belongs to no training job that can be seen.",
        "`gpuops kill-hung --dry-run` lists the jobs of this host.",
    )
