"""Which jobs to end, and why; which not, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.hang.detector import Assessment, Blind, Healthy, Hung, Suspect, Warming
from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.jobs import Process, TrainingJob, gpu_use
from gpuops.errors import UsageError
from gpuops.heartbeat import Beat
from gpuops.text import GIB

Reason = Literal["not ours", "healthy", "unclear", "unkillable", "recycled", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNow:
    """The process that has a pid now, and its state."""

    start_ticks: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Processes that are left alone. ``words`` continue a sentence: "pid 4711 ..." or "it ..."."""

    pids: tuple[int, ...]
    reason: Reason
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do about a job: end ``stop``, for the reasons in ``evidence``.

    ``certain``: those of ``stop`` for which, each by itself, the evidence is enough; to end the
    others a person must read it and agree.
    """

    job: TrainingJob
    evidence: tuple[str, ...] = ()
    stop: tuple[Process, ...] = ()
    certain: tuple[Process, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether the evidence is enough to end all of them."""
        return bool(self.stop) and self.certain == self.stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job and what to do about it; ``assessment`` is ``None`` if it was not watched.

    ``beats`` are its last ones, read at ``heard_s`` on CLOCK_MONOTONIC.
    """

    decision: Decision
    assessment: Assessment | None = None
    diagnosis: Diagnosis | None = None
    beats: tuple[Beat, ...] = ()
    heard_s: float = 0.0
    supervisor_pid: int | None = None

    @property
    def hung(self) -> bool:
        """Whether there is something to end, or something that hangs and cannot be ended."""
        unkillable = any(refusal.reason == "unkillable" for refusal in self.decision.refused)
        return bool(self.decision.stop) or unkillable


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of the jobs that were to end.

    ``moving`` are jobs that went on in the meantime, and were left alone. ``left`` outlasted
    SIGKILL; ``unreleased`` says what the GPUs still hold for processes that have gone.
    """

    ended: tuple[Process, ...] = ()
    moving: tuple[TrainingJob, ...] = ()
    left: tuple[Process, ...] = ()
    unreleased: tuple[str, ...] = ()


def select_jobs(
    jobs: Sequence[TrainingJob], *, run: str | None = None, pid: int | None = None
) -> tuple[TrainingJob, ...]:
    """The jobs that the user asks for: all, those of a run (name or folder), or that of a pid.

    Raises:
        UsageError: there is no such job.
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
        wanted = f"pid {pid} is not a process of a training job"
    raise UsageError(f"{wanted}.", "`gpuops kill-hung --dry-run` shows all training jobs.")


def decide(
    job: TrainingJob,
    assessment: Assessment | None,
    seen: Mapping[int, ProcessNow],
    stacks: str | None = None,
    supervisor_pid: int | None = None,
) -> Decision:
    """Decide what to do about a job.

    ``assessment`` is ``None`` if it was not watched. ``seen`` is a later look at its pids, so
    that no other process is ended that has got one of them since. ``stacks``: what two samples of
    all ranks' stacks agree on; with it, a person may end a job that is only suspect.
    ``supervisor_pid``: a supervisor at work, which itself ends what a dead torchrun has left.
    """
    if job.ours and job.launcher == "lost" and supervisor_pid is not None:
        words = f"is ended by its supervisor (pid {supervisor_pid})"
        pids = tuple(process.pid for process in job.processes)
        return Decision(job=job, refused=(Refusal(pids=pids, reason="unclear", words=words),))
    if job.ours and job.launcher == "lost":
        adopted = "gpuops' reaper" if job.reaper else f"pid {job.ranks[0].parent_pid}"
        died = f"torchrun has died and left it to {adopted}: nothing watches it or will end it"
        evidence, sure = [died], True
    elif job.ours and isinstance(assessment, Hung):
        evidence, sure = [assessment.why, *([stacks] if stacks else [])], True
    elif job.ours and isinstance(assessment, Suspect) and stacks:
        evidence, sure = [assessment.why, stacks], False
    else:
        return Decision(job=job, refused=(_refuse_job(job, assessment),))
    refused = {p.pid: refusal for p in job.processes if (refusal := _refusal(p, seen.get(p.pid)))}
    stop = tuple(process for process in job.processes if process.pid not in refused)
    return Decision(
        job=job,
        evidence=(*evidence, *_consequences(job)),
        stop=stop,
        certain=tuple(one for one in stop if sure and one.pid in job.certain),
        refused=tuple(refused.values()),
    )


def unreleased(processes: Sequence[Process], inventory: GpuInventory) -> tuple[str, ...]:
    """GPU memory still held for processes that were ended: a sentence for each."""
    held = ((process.pid, *gpu_use(inventory, process.pid)) for process in processes)
    return tuple(
        f"GPU {', '.join(map(str, gpus))} still holds {_size(size)} for pid {pid}"
        for pid, gpus, size in held
        if gpus
    )


def _refuse_job(job: TrainingJob, assessment: Assessment | None) -> Refusal:
    reason: Reason = "healthy" if isinstance(assessment, (Healthy, Warming)) else "unclear"
    match assessment:
        case _ if not job.ours:
            reason, words = "not ours", f"belongs to {job.user or 'another user'}"
        case Healthy():
            words = "moves, or its silence is within the limits"
        case Warming():
            words = "is starting"
        case Blind(why=why):
            words = f"cannot be assessed: {why}"
        case Suspect(why=why) | Hung(why=why):
            words = f"is only suspect: {why}"
        case None:
            words = "has not been watched"
    pids = tuple(process.pid for process in job.processes)
    return Refusal(pids=pids, reason=reason, words=words)


def _refusal(process: Process, now: ProcessNow | None) -> Refusal | None:
    pids = (process.pid,)
    if not process.ours:
        owner = process.user or "another user"
        return Refusal(pids=pids, reason="not ours", words=f"belongs to {owner}")
    if now is None:
        return Refusal(pids=pids, reason="gone", words="has already ended")
    if now.start_ticks != process.start_ticks:
        return Refusal(pids=pids, reason="recycled", words="is another process by now")
    if process.state == now.state == "D":
        until = "until the disk or driver that it waits for answers"
        words = f"is stuck in the kernel (state D) and cannot be ended {until}"
        return Refusal(pids=pids, reason="unkillable", words=words)
    return None


def _consequences(job: TrainingJob) -> tuple[str, ...]:
    """What else the user should know before agreeing."""
    known: list[str] = []
    if job.gpus:
        memory = _size(job.gpu_memory_bytes)
        known.append(f"it holds {memory} on GPU {', '.join(map(str, job.gpus))}")
    if (pid := job.supervisor_pid) is not None:
        known.append(f"its supervisor (pid {pid}) is alive, and may start run {job.run_id} again")
    return tuple(known)


def _size(size_bytes: int | None) -> str:
    return "memory" if size_bytes is None else f"{size_bytes / GIB:.1f} GiB"


def _pids(processes: Sequence[Process]) -> set[int]:
    return {process.pid for process in processes}
