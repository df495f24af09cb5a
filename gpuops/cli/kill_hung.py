"""``gpuops kill-hung``: end the jobs that hang, and no others."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuops.cli import options, output
from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.hung_jobs import Case, Cleaned, Decision, select_jobs
from gpuops.core.monitor.jobs import TrainingJob
from gpuops.errors import EXIT_CODES_HELP, ExitCode, UsageError
from gpuops.hung_jobs import WATCH_S, end, examine
from gpuops.launch.inventory import read_gpus
from gpuops.system.processes import jobs, visibility
from gpuops.system.runs import ownership, records, run_dir
from gpuops.ui import hung_jobs

KILL = "kill-hung --run"
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def kill_hung(
    run: Annotated[str | None, typer.Option("--run", help="Only this run.")] = None,
    pid: Annotated[int | None, typer.Option("--pid", help="Only the job of this process.")] = None,
    watch: Annotated[
        str, typer.Option("--watch", metavar="TIME", help="How long to observe the jobs.")
    ] = f"{WATCH_S:.0f}s",
    runs_dir: output.RunsDir = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the jobs; end nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: end every job that certainly hangs.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Find jobs that hang, show why, ask, end them, and check that their GPU memory is released.

    Jobs that make progress and jobs of other users are shown, and never touched.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError(
            "kill-hung asks before it ends a job, and there is no terminal to ask on.",
            "`--dry-run` only shows the jobs; `--yes` ends every job that certainly hangs.",
        )
    watch_s = options.seconds(watch) or WATCH_S
    inventory = read_gpus()
    unseen = None if inventory.absent else inventory.gaps.get("gpus")
    if unseen is not None:
        output.note(f"the GPUs were not seen, nor what the jobs hold there: {unseen}.")
    found = _named_jobs(run, pid, runs_dir, inventory)
    if (hidden := visibility.hidden()) is not None:
        output.note(f"not all processes were seen: {hidden}.")
    if any(job.ours for job in found):
        output.note(f"watching for {watch_s:g} s")
    cases = examine(found, watch_s)
    if not as_json:
        output.answer(cases, lambda: hung_jobs.cases(cases), as_json=False)
    elif not (dry_run or yes):
        output.comment(hung_jobs.cases(cases))
    stoppable = [] if dry_run else [case for case in cases if case.decision.stop]
    chosen = [replace(case, decision=_chosen(case.decision, yes=yes)) for case in stoppable]
    chosen = [case for case in chosen if case.decision.stop]
    done = end(chosen, read_gpus) if chosen else Cleaned()
    output.answer(
        {
            "jobs": [_json(case) for case in cases],
            "dry_run": dry_run,
            "ended": [process.pid for process in done.ended],
            "left": [process.pid for process in done.left],
            "unreleased": done.unreleased,
            "gpus_unseen": unseen,
        },
        lambda: hung_jobs.cleaned(done),
        as_json=as_json,
    )
    if _remains(cases, done):
        raise typer.Exit(int(ExitCode.FAILED))
    if unseen is not None:
        raise typer.Exit(int(ExitCode.MACHINE))


def _named_jobs(
    run: str | None, pid: int | None, runs_dir: Path | None, inventory: GpuInventory
) -> tuple[TrainingJob, ...]:
    """The named jobs; a running run is found by its whole name in any folder of runs."""
    found = jobs.find(inventory)
    if run is not None and all(job.run_id != run for job in found):
        root = records.find(run_dir.runs_dir(runs_dir), run, KILL)
        ownership.require_may_act(root, KILL)
        run = str(root)
    return select_jobs(found, run=run, pid=pid)


def _chosen(decision: Decision, *, yes: bool) -> Decision:
    """What the user, or with ``yes`` the evidence, decides to end."""
    name, certain = hung_jobs.name(decision.job), decision.certain
    if not yes:
        agreed = typer.confirm(f"End {name}?", err=True)
        return decision if agreed else replace(decision, stop=())
    left = [process for process in decision.stop if process not in certain]
    if not certain:
        output.note(f"{name} is left alone: it is not certain to hang, and --yes asks nothing.")
    elif left:
        output.note(f"left alone, since --yes asks nothing: {hung_jobs.processes(left)} of {name}.")
    return replace(decision, stop=certain)


def _remains(cases: tuple[Case, ...], done: Cleaned) -> bool:
    """Whether a job still hangs, or GPU memory is still held."""
    gone = {process.pid for process in done.ended}
    return bool(done.unreleased) or any(
        case.hung and not (case.decision.stop and {p.pid for p in case.decision.stop} <= gone)
        for case in cases
        if case.decision.job not in done.moving
    )


def _json(case: Case) -> dict[str, Any]:
    decision, job = case.decision, case.decision.job
    assessment = case.assessment
    return {
        "run_id": job.run_id,
        "run_dir": job.run_dir,
        "user": job.user,
        "ours": job.ours,
        "launcher": job.launcher,
        "pids": [process.pid for process in job.processes],
        "gpus": job.gpus,
        "gpu_memory_bytes": job.gpu_memory_bytes,
        "supervisor_pid": case.supervisor_pid,
        "assessment": type(assessment).__name__.lower() if assessment is not None else None,
        "hung": case.hung,
        "sure": decision.sure,
        "evidence": decision.evidence,
        "stop": [process.pid for process in decision.stop],
        "certain": [process.pid for process in decision.certain],
        "refused": decision.refused,
        "diagnosis": case.diagnosis,
    }
