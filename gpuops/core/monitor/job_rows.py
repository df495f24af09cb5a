"""The rows of the jobs: the state of each rank, and the health of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gpuops.core.hang import detector
from gpuops.core.hang.detector import Assessment, Blind, Healthy, Hung, Suspect, Warming
from gpuops.core.hang.observation import HangState, trains, update_state
from gpuops.core.hang.pace import Pace
from gpuops.core.machine.gpu_health import BUSY_PCT
from gpuops.core.monitor.jobs import Process
from gpuops.core.monitor.rows import GpuRow, JobHealth, JobRow, RankRow
from gpuops.core.monitor.sample import JobSample
from gpuops.heartbeat import Beat

HEALTH: Mapping[type[Assessment], JobHealth] = {
    Warming: "starting", Healthy: "healthy", Suspect: "suspect", Hung: "hung", Blind: "blind",
}  # fmt: skip
LATELY = 5  # steps for the current speed
STARTS_S = 120.0  # until then a job without beats may still be starting
SILENT = "it sends no heartbeats: whether it makes progress is not visible from outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorFinding:
    """A supervisor's diagnosis, and when: a sentence, the job's health, the rank it names."""

    at_s: float
    words: str
    health: JobHealth
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedJob:
    """What is remembered of a job between samples.

    ``finding`` is its supervisor's last diagnosis, while it is valid; ``usual_w`` the power of each
    of its GPUs while it moved.
    """

    row: JobRow
    hang: HangState
    finding: SupervisorFinding | None = None
    usual_w: Mapping[int, float] | None = None


def track_job(
    sample: JobSample,
    before: TrackedJob | None,
    gpus: Sequence[GpuRow],
    at_s: float,
    clock_s: float,
) -> TrackedJob:
    """Update a job with a new sample."""
    hang = _update_hang(sample, before.hang if before else None)
    beats = {beat.rank: beat for beat in sample.observation.beats} if sample.observation else {}
    finding = _newest_finding(sample, before.finding if before else None, hang, at_s)
    started = [p.started_at_s for p in sample.job.processes if p.started_at_s is not None]
    health, why = _assessed(sample, hang, finding, at_s - min(started, default=at_s))
    ranks = [_rank(one, sample.gpus(one), beats, hang, clock_s) for one in sample.job.ranks]
    if health in {"suspect", "hung"}:
        culprit = finding.rank if finding is not None else _behind(ranks)
        ranks = [replace(one, culprit=True) if one.rank == culprit else one for one in ranks]
    powers = {gpu.index: gpu.power_w for gpu in gpus if gpu.power_w is not None}
    usual = dict(before.usual_w or {}) if before else {}
    if health == "healthy":
        mine = {index for rank in ranks for index in rank.gpus if index in powers}
        usual |= {index: max(usual.get(index, 0.0), powers[index]) for index in mine}
    elif health in {"suspect", "hung"} and why is not None:
        parts = (_describe_progress(ranks), why, _describe_power(ranks, gpus, usual))
        why = "; ".join(filter(None, parts))
    job = sample.job
    row = JobRow(
        name=sample.name,
        run_id=job.run_id,
        run_dir=job.run_dir,
        target=sample.facts.target,
        profile=sample.facts.profile,
        user=job.user,
        ours=job.ours,
        supervised=sample.supervised,
        supervisor_stopped=sample.supervisor_stopped,
        attempt=job.attempt,
        started_at_s=min(started, default=None),
        health=health,
        why=why,
        diagnosis=finding.words if finding else None,
        targets=sample.facts.targets,
        ranks=tuple(ranks),
    )
    return TrackedJob(row=row, hang=hang, finding=finding, usual_w=usual)


def _update_hang(sample: JobSample, before: HangState | None) -> HangState:
    """Update the hang state; a new one counts the time since the oldest beat."""
    observation = sample.observation
    if observation is None:
        return before or HangState()
    if before is None:
        oldest_s = min((beat.monotonic_s for beat in observation.beats), default=None)
        before = HangState(most_s=float("inf"), looked_s=oldest_s)
    return update_state(before, observation)


def _newest_finding(
    sample: JobSample, before: SupervisorFinding | None, hang: HangState, at_s: float
) -> SupervisorFinding | None:
    """The supervisor's newest diagnosis of this attempt, until the job has moved since."""
    found = before
    for event in sample.events:
        made_at_s, why, rank = event.get("time"), event.get("why"), event.get("rank")
        own = event.get("event") == "diagnosis" and event.get("attempt") == sample.job.attempt
        if own and isinstance(made_at_s, (int, float)) and isinstance(why, str):
            doubt = "" if event.get("sure") is True else " (unsure)"
            found = SupervisorFinding(
                at_s=float(made_at_s),
                words=f"{event.get('kind')}: {why}{doubt}",
                health="hung" if event.get("what") == "hung" else "suspect",
                rank=rank if isinstance(rank, int) else None,
            )
    moved_s = _moved_s(hang)
    moved = found is not None and moved_s is not None and at_s - moved_s > found.at_s
    return None if moved else found


def _moved_s(hang: HangState) -> float | None:
    """Seconds since its last beat, or since it last logged or saved if it never beats."""
    if hang.beats:
        return hang.clock_s - max(pace.since_s for pace in hang.beats.values())
    output = hang.output
    return hang.clock_s - output.since_s if output is not None and output.mark else None


def _assessed(
    sample: JobSample, hang: HangState, finding: SupervisorFinding | None, age_s: float
) -> tuple[JobHealth, str | None]:
    job = sample.job
    if not job.ours:
        return "left alone", None
    if job.launcher == "lost":
        ends = "its supervisor ends" if sample.supervised else "nothing will end"
        return "suspect", f"torchrun has died and left its ranks: {ends} them"
    if sample.observation is None:
        return "blind", "its processes cannot be read"
    beats = sample.observation.beats
    assessment = detector.assess(hang, sample.facts.policy)
    health, why = HEALTH[type(assessment)], getattr(assessment, "why", None)
    if health == "starting" and trains(beats):
        health = "healthy"
    if health == "starting" and not beats and age_s > STARTS_S:
        health, why = "blind", SILENT
    if finding is not None and health not in {"suspect", "hung"}:
        moved_s = _moved_s(hang)
        silent = "" if moved_s is None else f"; no sign of life for {moved_s:.0f} s"
        return finding.health, f"its supervisor's diagnosis{silent}"
    return health, why


def _rank(
    process: Process,
    gpus: tuple[int, ...],
    beats: Mapping[int, Beat],
    hang: HangState,
    clock_s: float,
) -> RankRow:
    rank = process.rank
    beat = beats.get(rank) if rank is not None else None
    pace = hang.beats.get(rank) if rank is not None else None
    if beat is None or pace is None:
        return RankRow(rank=rank, pid=process.pid, gpus=gpus, process=process.state)
    usual = _per_s(pace.median_s)
    age_s = max(0.0, clock_s - beat.monotonic_s)
    known = beat.step is not None and beat.total_steps is not None
    left = max(0, (beat.total_steps or 0) - (beat.step or 0)) if known else None
    return RankRow(
        rank=rank,
        pid=process.pid,
        gpus=gpus,
        process=process.state,
        phase=beat.phase,
        step=beat.step,
        total_steps=beat.total_steps,
        steps_per_s=_speed(pace, hang.clock_s),
        usual_steps_per_s=usual,
        loss=beat.loss,
        eta_s=None if left is None or not usual else left / usual,
        data_wait=beat.data_wait,
        progress_age_s=age_s + max(0.0, pace.since_s - pace.step_s),
        beat_age_s=age_s,
    )


def _speed(pace: Pace, clock_s: float) -> float | None:
    """Recent steps per second; a step that already takes 3 times as long lowers it at once."""
    if not pace.recent:
        return None
    lately = pace.recent[-LATELY:]
    usual_s = sum(lately) / len(lately)
    now_s = clock_s - pace.step_s if pace.phase == "train" else 0.0
    return _per_s(usual_s if now_s < 3 * usual_s else now_s)


def _per_s(seconds: float | None) -> float | None:
    return 1 / seconds if seconds else None


def _describe_progress(ranks: Sequence[RankRow]) -> str:
    """``rank 3: step 812 unchanged for 214 s, 7 others at step 813``."""
    known = [rank for rank in ranks if rank.step is not None and rank.progress_age_s is not None]
    if not known:
        return ""
    one = min(known, key=lambda rank: (rank.step or 0, -(rank.progress_age_s or 0.0)))
    stuck = f"rank {one.rank}: step {one.step} unchanged for {one.progress_age_s:.0f} s"
    others = [rank for rank in known if rank is not one]
    ahead = [rank for rank in others if (rank.step or 0) > (one.step or 0)]
    if ahead:
        return f"{stuck}, {len(ahead)} of {len(others)} others are further"
    return f"{stuck}, as are all {len(known)}" if others else stuck


def _behind(ranks: Sequence[RankRow]) -> int | None:
    """The rank that is behind all others; ``None`` if it is not a single one."""
    steps = [rank.step for rank in ranks if rank.step is not None]
    last = [rank.rank for rank in ranks if rank.step is not None and rank.step == min(steps)]
    return last[0] if len(last) == 1 and len(steps) > 1 else None


def _describe_power(
    ranks: Sequence[RankRow], gpus: Sequence[GpuRow], usual: Mapping[int, float]
) -> str:
    """The power of busy GPUs: a wait in an NCCL collective keeps a GPU busy at low power."""
    mine = {index for rank in ranks for index in rank.gpus}
    busy = [
        gpu
        for gpu in gpus
        if gpu.index in mine and (gpu.utilization_pct or 0) >= BUSY_PCT and gpu.power_w
    ]
    if not busy:
        return ""
    watts = [gpu.power_w or 0 for gpu in busy]
    low, top = min(watts), max(watts)
    span = f"{low:.0f} W" if round(low) == round(top) else f"{low:.0f} to {top:.0f} W"
    most = max((usual[gpu.index] for gpu in busy if gpu.index in usual), default=None)
    before = f", {most:.0f} W while it moved" if most is not None else ""
    least = min(gpu.utilization_pct or 0 for gpu in busy)
    return f"{len(busy)} of {len(mine)} GPUs at {least} % and {span}{before}"
