"""The rows of the jobs: where each rank is, and what is to be thought of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gpuops.core.hang import detector
from gpuops.core.hang.detector import Assessment, Blind, Hung, Suspect, Warming
from gpuops.core.hang.observation import HangState, update_state
from gpuops.core.hang.pace import Pace
from gpuops.core.monitor.frame import GpuRow, JobHealth, JobRow, RankRow
from gpuops.core.monitor.jobs import Process
from gpuops.core.monitor.sample import JobSample
from gpuops.heartbeat import Beat

LATELY = 5  # steps that make up the present speed
STARTS_S = 120.0  # until then who has not beaten may do so yet
SILENT = "it does not beat: whether it moves cannot be told from here"
BUSY_PCT = 90  # a GPU that waits in a collective looks like that; its power gives it away


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a supervisor has found out, and when: a sentence, a standing, the rank it names."""

    at_s: float
    words: str
    health: JobHealth
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A job as it is remembered from look to look.

    ``word`` is its supervisor's last, while it holds; ``usual_w`` what each of its GPUs took while
    it moved.
    """

    row: JobRow
    watch: HangState
    word: Word | None = None
    usual_w: Mapping[int, float] | None = None


def follow(
    sample: JobSample,
    before: Followed | None,
    gpus: Sequence[GpuRow],
    at_s: float,
    clock_s: float,
) -> Followed:
    """Take in one look at a job."""
    watch = _watched(sample, before.watch if before else None)
    beats = {beat.rank: beat for beat in sample.seen.beats} if sample.seen else {}
    word = _word(sample, before.word if before else None, watch, at_s)
    started = [p.started_at_s for p in sample.job.processes if p.started_at_s is not None]
    started_at_s = min(started, default=at_s)
    health, why = _assessed(sample, watch, word, at_s - started_at_s)
    ranks = [
        _rank(process, sample.gpus(process), beats, watch, clock_s) for process in sample.job.ranks
    ]
    if health in {"suspect", "hung"}:
        culprit = word.rank if word is not None else _behind(ranks)
        ranks = [replace(one, culprit=True) if one.rank == culprit else one for one in ranks]
    powers = {gpu.index: gpu.power_w for gpu in gpus if gpu.power_w is not None}
    usual = dict(before.usual_w or {}) if before else {}
    if health == "healthy":
        mine = {index for rank in ranks for index in rank.gpus if index in powers}
        usual |= {index: max(usual.get(index, 0.0), powers[index]) for index in mine}
    elif health in {"suspect", "hung"} and why is not None:
        why = "; ".join([_where(ranks), why, *_spinning(ranks, gpus, usual)]).removeprefix("; ")
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
        attempt=job.attempt,
        started_at_s=started_at_s if started else None,
        health=health,
        why=why,
        diagnosis=word.words if word else None,
        ranks=tuple(ranks),
    )
    return Followed(row=row, watch=watch, word=word, usual_w=usual)


def _watched(sample: JobSample, before: HangState | None) -> HangState:
    """The watch goes on; one that begins counts what the beats say of the time before."""
    seen = sample.seen
    if seen is None:
        return before or HangState()
    if before is None:
        oldest_s = min((beat.monotonic_s for beat in seen.beats), default=None)
        before = HangState(most_s=float("inf"), looked_s=oldest_s)
    return update_state(before, seen)


def _word(sample: JobSample, before: Word | None, watch: HangState, at_s: float) -> Word | None:
    """The supervisor's newest diagnosis of this attempt, until the job has moved since."""
    found = before
    for event in sample.noted:
        said_s, why, rank = event.get("time"), event.get("why"), event.get("rank")
        told = event.get("event") == "diagnosis" and event.get("attempt") == sample.job.attempt
        if told and isinstance(said_s, (int, float)) and isinstance(why, str):
            doubt = "" if event.get("sure") is True else " (unsure)"
            found = Word(
                at_s=float(said_s),
                words=f"{event.get('kind')}: {why}{doubt}",
                health="hung" if event.get("what") == "hung" else "suspect",
                rank=rank if isinstance(rank, int) else None,
            )
    moved_s = _moved_s(watch)
    moved = found is not None and moved_s is not None and at_s - moved_s > found.at_s
    return None if moved else found


def _moved_s(watch: HangState) -> float | None:
    """How long ago it last moved: beat; of a job that never does, logged or saved."""
    if watch.beats:
        return watch.clock_s - max(pace.since_s for pace in watch.beats.values())
    output = watch.output
    return watch.clock_s - output.since_s if output is not None and output.mark else None


def _assessed(
    sample: JobSample, watch: HangState, word: Word | None, age_s: float
) -> tuple[JobHealth, str | None]:
    job = sample.job
    if not job.ours:
        return "left alone", None
    if job.launcher == "lost":
        return "suspect", "torchrun has died and left its ranks: nobody will end them"
    if sample.seen is None:
        return "blind", "it cannot be looked into"
    trains = any(beat.step is not None and beat.phase != "start" for beat in sample.seen.beats)
    health, why = _as_word(detector.assess(watch, sample.facts.policy), trains=trains)
    if health == "starting" and not sample.seen.beats and age_s > STARTS_S:
        health, why = "blind", SILENT
    if word is not None and health not in {"suspect", "hung"}:
        moved_s = _moved_s(watch)
        silent = "" if moved_s is None else f"; nothing heard of it for {moved_s:.0f} s"
        return word.health, f"so its supervisor found{silent}"
    return health, why


def _as_word(assessment: Assessment, *, trains: bool) -> tuple[JobHealth, str | None]:
    match assessment:
        case Hung(why=why):
            return "hung", why
        case Suspect(why=why):
            return "suspect", why
        case Blind(why=why):
            return "blind", why
        case Warming() if not trains:
            return "starting", None
    return "healthy", None


def _rank(
    process: Process,
    gpus: tuple[int, ...],
    beats: Mapping[int, Beat],
    watch: HangState,
    clock_s: float,
) -> RankRow:
    rank = process.rank
    beat = beats.get(rank) if rank is not None else None
    pace = watch.beats.get(rank) if rank is not None else None
    if beat is None or pace is None:
        return RankRow(rank=rank, pid=process.pid, gpus=gpus, process=process.state)
    usual = _per_s(pace.median_s)
    age_s = max(0.0, clock_s - beat.monotonic_s)
    left = None
    if beat.step is not None and beat.total_steps is not None:
        left = max(0, beat.total_steps - beat.step)
    return RankRow(
        rank=rank,
        pid=process.pid,
        gpus=gpus,
        process=process.state,
        phase=beat.phase,
        step=beat.step,
        total_steps=beat.total_steps,
        steps_per_s=_speed(pace, watch.clock_s),
        usual_steps_per_s=usual,
        loss=beat.loss,
        eta_s=None if left is None or not usual else left / usual,
        data_wait=beat.data_wait,
        progress_age_s=age_s + max(0.0, pace.since_s - pace.step_s),
        beat_age_s=age_s,
    )


def _speed(pace: Pace, clock_s: float) -> float | None:
    """Steps a second of late; a step that takes longer than they did slows it down at once."""
    if not pace.recent:
        return None
    lately = pace.recent[-LATELY:]
    usual_s = sum(lately) / len(lately)
    now_s = clock_s - pace.step_s if pace.phase == "train" else 0.0
    return _per_s(usual_s if now_s < 3 * usual_s else now_s)


def _per_s(seconds: float | None) -> float | None:
    return 1 / seconds if seconds else None


def _where(ranks: Sequence[RankRow]) -> str:
    """``rank 3: step 812 unchanged for 214 s, 7 others at step 813``."""
    known = [rank for rank in ranks if rank.step is not None and rank.progress_age_s is not None]
    if not known:
        return ""
    one = min(known, key=lambda rank: (rank.step or 0, -(rank.progress_age_s or 0.0)))
    said = f"rank {one.rank}: step {one.step} unchanged for {one.progress_age_s:.0f} s"
    others = [rank for rank in known if rank is not one]
    ahead = [rank for rank in others if (rank.step or 0) > (one.step or 0)]
    if ahead:
        return f"{said}, {len(ahead)} of {len(others)} others are further"
    return f"{said}, as are all {len(known)}" if others else said


def _behind(ranks: Sequence[RankRow]) -> int | None:
    """The one rank that all others have left behind; ``None`` where it is no single one."""
    steps = [rank.step for rank in ranks if rank.step is not None]
    last = [rank.rank for rank in ranks if rank.step is not None and rank.step == min(steps)]
    return last[0] if len(last) == 1 and len(steps) > 1 else None


def _spinning(
    ranks: Sequence[RankRow], gpus: Sequence[GpuRow], usual: Mapping[int, float]
) -> list[str]:
    """GPUs that look busy and do little: so looks a wait in a collective over NCCL."""
    mine = {index for rank in ranks for index in rank.gpus}
    busy = [
        gpu
        for gpu in gpus
        if gpu.index in mine and (gpu.utilization_pct or 0) >= BUSY_PCT and gpu.power_w
    ]
    if not busy:
        return []
    low, top = min(c.power_w or 0 for c in busy), max(c.power_w or 0 for c in busy)
    span = f"{low:.0f} W" if round(low) == round(top) else f"{low:.0f} to {top:.0f} W"
    most = max((usual[gpu.index] for gpu in busy if gpu.index in usual), default=None)
    before = f", {most:.0f} W while it moved" if most is not None else ""
    least = min(gpu.utilization_pct or 0 for gpu in busy)
    return [f"{len(busy)} of {len(mine)} GPUs at {least} % and {span}{before}"]
