"""Hung jobs on the screen: the evidence, what would be ended, and what was ended."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from gpuops.core.monitor.hung_jobs import Case, Cleaned
from gpuops.core.monitor.jobs import Process, TrainingJob, python_program
from gpuops.text import many, printable

PROGRAM_LENGTH = 60


def cases(found: Sequence[Case]) -> RenderableType:
    """Every job: the evidence, the processes to end, those left alone, and why."""
    if not found:
        return Text("No training job runs here.", style="dim")
    return Group(*(_case(case) for case in found))


def cleaned(done: Cleaned) -> RenderableType:
    """What has ended, and what has not ended."""
    rows = [
        Text(f"{name(job)} makes progress again: it was left alone.", "green")
        for job in done.moving
    ]
    if done.ended:
        rows.append(Text(f"ended: {processes(done.ended)}", style="green"))
    if done.left:
        why = "each waits in the kernel for a disk or a driver, and ends when that answers"
        rows.append(Text(f"still alive after SIGKILL: {processes(done.left)}; {why}", "red"))
    rows += [Text(words, style="red") for words in done.unreleased]
    if done.ended and not done.unreleased and any(process.gpus for process in done.ended):
        rows.append(Text("the GPU memory is released", style="green"))
    return Group(*rows)


def name(job: TrainingJob) -> str:
    """The name of a job for the user."""
    return job.run_id or f"the job of pid {job.processes[0].pid}"


def _case(case: Case) -> RenderableType:
    decision, job = case.decision, case.decision.job
    state, colour = _state(case)
    badge = (f"{state:<9}", f"bold {colour}")
    rows = [Text.assemble(badge, (f" {name(job)}", "bold"), _describe_job(job))]
    rows += [Text(f"  {words}", style=colour) for words in decision.evidence]
    if decision.stop:
        rows.append(Text(f"  would be ended: {processes(decision.stop)}", style="bold"))
        doubtful = [one for one in decision.stop if one not in decision.certain]
        if doubtful and (decision.certain or job.launcher == "lost"):
            rows.append(
                Text(f"  only if you say so: {processes(doubtful)} may be a tool or a copy")
            )
        if case.supervisor_pid is not None:
            supervisor = f"its supervisor (pid {case.supervisor_pid})"
            rows.append(Text(f"  {supervisor} is stopped first, or it would start it again"))
    for refusal in decision.refused:
        pids = ", ".join(map(str, refusal.pids))
        subject = "it" if len(refusal.pids) == len(job.processes) else f"pid {pids}"
        rows.append(Text(f"  left alone: {subject} {refusal.words}", style="dim"))
    return Group(*rows)


def _state(case: Case) -> tuple[str, str]:
    decision = case.decision
    if not case.hung:
        reason = decision.refused[0].reason if decision.refused else "gone"
        return reason, "green" if reason == "healthy" else "yellow"
    if decision.job.launcher == "lost" and decision.certain:
        return "abandoned", "red"
    return ("hung", "red") if decision.certain else ("suspect", "yellow")


def _describe_job(job: TrainingJob) -> str:
    first = job.ranks[0] if job.ranks else job.processes[0]
    runs = printable(python_program(first.argv) or (first.argv or ("?",))[0], PROGRAM_LENGTH)
    gpus = f" on GPU {', '.join(map(str, job.gpus))}" if job.gpus else ""
    count = many(len(job.ranks), "rank")
    return f"  {runs} of {job.user or 'another user'}, {count}{gpus}"


def processes(some: Sequence[Process]) -> str:
    """``rank 0 (pid 12), rank 1 (pid 13), pid 11``."""
    return ", ".join(
        f"pid {one.pid}" if one.rank is None else f"rank {one.rank} (pid {one.pid})" for one in some
    )
