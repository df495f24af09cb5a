"""Which jobs are to be ended, and why; which are not, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gpuops.core.hang.detector import Assessment, Blind, Healthy, Hung, Suspect, Warming
from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.jobs import Process, TrainingJob, on_gpus
from gpuops.core.units import GIB
from gpuops.errors import UsageError

Reason = Literal["not ours", "healthy", "unclear", "unkillable", "recycled", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A later look at a pid: who has it now, and in which state."""

    start_ticks: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Processes that are left alone. ``words`` go on from "pid 4711 ..." or "it ..."."""

    pids: tuple[int, ...]
    reason: Reason
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What is to be done about a job: end ``stop``, for the reasons in ``evidence``.

    ``sure``: the evidence is enough to act upon; else only a person who has read it may say so.
    """

    job: TrainingJob
    sure: bool = False
    evidence: tuple[str, ...] = ()
    stop: tuple[Process, ...] = ()
    refused: tuple[Refusal, ...] = ()


def meant(
    jobs: Sequence[TrainingJob], *, run: str | None = None, pid: int | None = None
) -> tuple[TrainingJob, ...]:
    """The jobs that somebody means: all of ours, those of a run (name or folder), or a pid's.

    Raises:
        UsageError: no job is meant by it.
    """
    if run is None and pid is None:
        return tuple(jobs)
    found = tuple(
        job
        for job in jobs
        if (run is None or run in {job.run_id, job.run_dir})
        and (pid is None or pid in _pids(job.processes))
    )
    if found:
        return found
    if pid is not None and any(pid in _pids(job.processes) for job in jobs):
        raise UsageError(f"pid {pid} does not belong to run {run}.", "Leave one of them out.")
    wanted = f"no process of run {run} is alive"
    if pid is not None:
        wanted = f"pid {pid} is no process of a training job"
    raise UsageError(f"{wanted}.", "`gpuops kill-hung --dry-run` shows all training jobs.")


def rule(
    job: TrainingJob,
    assessment: Assessment | None,
    seen: Mapping[int, Seen],
    stacks: str | None = None,
) -> Ruling:
    """What is to be done about a job, by what watching it has shown.

    ``assessment`` is ``None`` if it was not watched. ``seen`` is a later look at its pids, so
    that nobody is hit who has been given one of them since. ``stacks`` says what two samples of
    all ranks' stacks agree on: with it, a person may end a job that is only suspect.
    """
    if job.ours and job.launcher == "lost":
        evidence, sure = _abandoned(job), _is_rank(job)
    elif job.ours and isinstance(assessment, Hung):
        evidence, sure = (assessment.why, *([stacks] if stacks else [])), True
    elif job.ours and isinstance(assessment, Suspect) and stacks:
        evidence, sure = (assessment.why, stacks), False
    else:
        return Ruling(job=job, refused=(_left_alone(job, assessment),))
    refused = {p.pid: refusal for p in job.processes if (refusal := _spared(p, seen.get(p.pid)))}
    return Ruling(
        job=job,
        sure=sure,
        evidence=(*evidence, *_consequences(job)),
        stop=tuple(process for process in job.processes if process.pid not in refused),
        refused=tuple(refused.values()),
    )


def unreleased(processes: Sequence[Process], inventory: GpuInventory) -> tuple[str, ...]:
    """What the GPUs still hold for processes that were ended: a sentence for each."""
    held = ((process.pid, *on_gpus(inventory, process.pid)) for process in processes)
    return tuple(
        f"GPU {', '.join(map(str, gpus))} still holds {_size(size)} for pid {pid}"
        for pid, gpus, size in held
        if gpus
    )


def _left_alone(job: TrainingJob, assessment: Assessment | None) -> Refusal:
    """Why nothing is done about a job."""
    reason: Reason = "unclear"
    match assessment:
        case _ if not job.ours:
            reason, words = "not ours", f"belongs to {job.user or 'another user'}"
        case Healthy():
            reason, words = "healthy", "moves, or is silent no longer than it may be"
        case Warming():
            reason, words = "healthy", "is starting"
        case Blind(why=why):
            words = f"shows nothing that would tell a hang from work: {why}"
        case Suspect(why=why) | Hung(why=why):
            words = f"is only suspect: {why}"
        case None:
            words = "has not been watched"
    pids = tuple(process.pid for process in job.processes)
    return Refusal(pids=pids, reason=reason, words=words)


def _spared(process: Process, now: Seen | None) -> Refusal | None:
    """Why one process of a job that is to be ended is left alone."""
    pids = (process.pid,)
    if not process.ours:
        words = f"belongs to {process.user or 'another user'}"
        return Refusal(pids=pids, reason="not ours", words=words)
    if now is None:
        return Refusal(pids=pids, reason="gone", words="has ended by itself")
    if now.start_ticks != process.start_ticks:
        return Refusal(pids=pids, reason="recycled", words="is another process by now")
    if process.state == now.state == "D":
        words = (
            "is stuck in the kernel (state D) and cannot be ended: whatever it waits for, a disk "
            "or a driver, has to answer first"
        )
        return Refusal(pids=pids, reason="unkillable", words=words)
    return None


def _abandoned(job: TrainingJob) -> tuple[str, ...]:
    rank = job.ranks[0]
    adopted = "gpuops' reaper" if job.reaper else f"pid {rank.parent_pid}"
    return (f"torchrun has died and left it to {adopted}: nobody watches it, nobody will end it",)


def _is_rank(job: TrainingJob) -> bool:
    """Whether what was left behind is surely a rank, and not a tool that one of them started.

    torchrun starts ranks as ``python -u``; and a tool has no business on a GPU.
    """
    return any(rank.argv[1:2] == ("-u",) or rank.gpu_memory_bytes for rank in job.ranks)


def _consequences(job: TrainingJob) -> tuple[str, ...]:
    """What else is to be known before saying yes."""
    held = job.gpu_memory_bytes
    known: list[str] = []
    if job.gpus:
        known.append(f"it holds {_size(held)} on GPU {', '.join(map(str, job.gpus))}")
    if job.supervisor_pid is not None:
        known.append(
            f"its supervisor (pid {job.supervisor_pid}) lives, and may start run {job.run_id} again"
        )
    return tuple(known)


def _size(size_bytes: int | None) -> str:
    return "memory" if size_bytes is None else f"{size_bytes / GIB:.1f} GiB"


def _pids(processes: Sequence[Process]) -> set[int]:
    return {process.pid for process in processes}
