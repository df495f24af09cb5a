"""Hung jobs of any launcher: watch them, gather evidence, end them and see that they are gone.

``core.monitor.hung_jobs`` and a person decide what is ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from gpuops.core.diagnosis.diagnosis import Diagnosis, format_title
from gpuops.core.hang import detector
from gpuops.core.hang.detector import Assessment, Blind, HangPolicy, Healthy, Hung, Suspect, Warming
from gpuops.core.hang.observation import HangState, Observation, trains, update_state
from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.hung_jobs import Case, Cleaned, decide, unreleased
from gpuops.core.monitor.jobs import Process, TrainingJob
from gpuops.core.run import paths
from gpuops.diagnose import diagnose_processes
from gpuops.errors import GpuopsError
from gpuops.heartbeat import Beat
from gpuops.system.processes import jobs, members, vitals
from gpuops.system.runs import beats as attempt_beats
from gpuops.system.runs import events, plan_file, supervisor_lock

WATCH_S = 6.0
LOOK_S = 0.5
TERMINATE_S = KILL_S = RELEASE_S = 10.0


def examine(found: Sequence[TrainingJob], watch_s: float) -> tuple[Case, ...]:
    """Watch our jobs for ``watch_s`` and read the stacks of silent ones. Nothing is touched."""
    with ExitStack() as stack:
        watched = {
            number: _Watched(job, stack)
            for number, job in enumerate(found)
            if job.ours and job.launcher != "lost"
        }
        until_s = time.monotonic() + watch_s
        while watched:
            for one in watched.values():
                one.observe()
            if (left_s := until_s - time.monotonic()) <= 0:
                break
            time.sleep(min(LOOK_S, left_s))
        return tuple(
            watched[number].case() if number in watched else _case(job)
            for number, job in enumerate(found)
        )


def end(cases: Sequence[Case], see: Callable[[], GpuInventory]) -> Cleaned:
    """End what was decided, except jobs that have moved since.

    A live supervisor is stopped first: it would start its run again. ``see`` reads the GPUs.
    """
    moving = tuple(case.decision.job for case in cases if _moves(case))
    cases = [case for case in cases if case.decision.job not in moving]
    chosen = tuple(process for case in cases for process in case.decision.stop)
    for case in cases:
        _record(case)
    supervised = [
        Path(run_dir)
        for case in cases
        if (run_dir := case.decision.job.run_dir) and case.supervisor_pid is not None
    ]
    supervisor_lock.retire(supervised, now=True, within_s=TERMINATE_S)  # all are ended either way
    left = jobs.end(chosen, terminate_s=TERMINATE_S, kill_s=KILL_S)
    ended = tuple(process for process in chosen if process not in left)
    return Cleaned(ended=ended, moving=moving, left=left, unreleased=_unreleased(ended, see))


class _Watched:
    """A job under observation; ``stack`` ends it."""

    def __init__(self, job: TrainingJob, stack: ExitStack) -> None:
        self._job = job
        self._ranks = {one.rank: jobs.identity(one) for one in job.ranks if one.rank is not None}
        self._beat_dir = _beat_dir(job)
        self._first = self._beats = self._read_beats()
        # The time since the oldest beat counts: a job may hang since yesterday.
        oldest_s = min((beat.monotonic_s for beat in self._beats), default=None)
        self._watch = HangState(most_s=float("inf"), looked_s=oldest_s)
        self._began_s = self._looked_s = time.monotonic()
        self._logs: vitals.FolderSize | None = None
        if job.run_dir is not None and job.attempt is not None:
            logs = vitals.FolderSize(Path(job.run_dir, paths.logs(job.attempt)))
            self._logs = stack.enter_context(logs)

    def observe(self) -> None:
        """Take an observation."""
        self._beats, self._looked_s = self._read_beats(), time.monotonic()
        seen = Observation(
            now_s=self._looked_s,
            beats=self._beats,
            vitals=vitals.read(sorted(self._ranks.items())),
            # For a job that reports its steps, the first size of its log would look like growth.
            log_bytes=self._logs.bytes if self._logs is not None and not self._trains else None,
        )
        self._watch = replace(update_state(self._watch, seen), most_s=2.0)

    def case(self) -> Case:
        """The decision on the job, by its stacks too unless it moves."""
        assessment, found = self._assess(), None
        silent = self._beats == self._first
        if self._ranks and (silent or isinstance(assessment, (Suspect, Hung))):
            listed = {r.rank: r.gpus[0] for r in self._job.ranks if r.rank is not None and r.gpus}
            found = diagnose_processes(self._ranks, self._beat_dir, gpus=listed)
            if found.hopeless and isinstance(assessment, Suspect):
                assessment = detector.to_hung(assessment)  # what it waits for can never come
            elif found.hopeless and not isinstance(assessment, Hung):
                assessment = self._stuck(found)
        case = _case(self._job, assessment, found)
        return replace(case, beats=self._beats, heard_s=self._looked_s)

    def _assess(self) -> Assessment:
        assessment = detector.assess(self._watch, self._policy())
        if isinstance(assessment, Warming) and self._trains:
            return Healthy()  # it was at work before it was watched
        if isinstance(assessment, Warming) and not self._beats:
            watched_s = round(self._looked_s - self._began_s)
            return Blind(
                why=f"it sends no heartbeats, and {watched_s} s of observation are not enough"
            )
        return assessment

    def _stuck(self, found: Diagnosis) -> Suspect:
        """Suspect by its stacks, though its silence is too short."""
        idle_s = self._looked_s - self._began_s
        ranks = tuple(sorted(self._ranks))
        why = f"no sign of life for {idle_s:.0f} s, and {found.why}"
        return Suspect(ranks=ranks, phase="unknown", idle_s=idle_s, why=why)

    def _policy(self) -> HangPolicy:
        """The policy of its own supervisor; the beats may show that it reports its phases."""
        try:
            plan = plan_file.load(Path(self._job.run_dir or ""))
        except GpuopsError:
            return HangPolicy()
        timeout_s = plan.hang_timeout_s
        policy = detector.hang_policy(plan.target.kind, timeout_s)
        return replace(policy, start_s=timeout_s) if timeout_s and self._trains else policy

    @property
    def _trains(self) -> bool:
        return trains(self._beats)

    def _read_beats(self) -> tuple[Beat, ...]:
        beats = attempt_beats.read(self._beat_dir) if self._beat_dir is not None else ()
        living = tuple(beat for beat in beats if beat.rank in self._ranks)
        if self._job.launcher == "torchrun":
            return living
        # A copy of a rank's environment has that rank's beats, not its own.
        return tuple(beat for beat in living if beat.pid == self._ranks[beat.rank].pid)


def _case(
    job: TrainingJob, assessment: Assessment | None = None, found: Diagnosis | None = None
) -> Case:
    stacks = f"{format_title(found)}: {found.why}" if found is not None else None
    known = job.ours and job.run_dir is not None and job.launcher != "unknown"
    keeper = supervisor_lock.holder(Path(job.run_dir or "")) if known else None
    at_work = keeper.pid if keeper is not None and not keeper.stopped else None
    job, seen = _without_tools(job), jobs.look_again([job])
    return Case(
        decision=decide(job, assessment, seen, stacks, at_work),
        assessment=assessment,
        diagnosis=found,
        supervisor_pid=keeper.pid if keeper is not None else None,
    )


def _without_tools(job: TrainingJob) -> TrainingJob:
    """The job, certain only of the ranks that its supervisor has seen as such, if it has one."""
    if not job.ours or job.launcher != "lost" or job.run_dir is None or job.attempt is None:
        return job
    seen = members.read(Path(job.run_dir, paths.state(job.attempt)))
    ranks = {one.identity for one in seen if one.rank is not None}
    tools = {one.pid for one in job.ranks if ranks and jobs.identity(one) not in ranks}
    return replace(job, certain=job.certain - tools)


def _beat_dir(job: TrainingJob) -> Path | None:
    if job.run_dir is None or job.attempt is None:
        return None
    return Path(job.run_dir, paths.beats(job.attempt))


def _moves(case: Case) -> bool:
    """Whether a silent rank has beaten since, while the user read the evidence."""
    beat_dir = _beat_dir(case.decision.job)
    if not isinstance(case.assessment, (Suspect, Hung)) or beat_dir is None:
        return False
    beats = attempt_beats.read(beat_dir)
    ranks = case.assessment.ranks
    return any(beat.rank in ranks and beat.monotonic_s > case.heard_s for beat in beats)


def _record(case: Case) -> None:
    """Record the end in the run's events, so that the user can read it later."""
    job = case.decision.job
    if job.run_dir is not None:
        pids = [process.pid for process in case.decision.stop]
        why = "; ".join(case.decision.evidence)
        events.record(Path(job.run_dir), "kill_hung", attempt=job.attempt, pids=pids, why=why)


def _unreleased(ended: Sequence[Process], see: Callable[[], GpuInventory]) -> tuple[str, ...]:
    """GPU memory that is not released within some seconds; not read if they held none."""
    if not any(process.gpus for process in ended):
        return ()
    until_s = time.monotonic() + RELEASE_S
    while (held := unreleased(ended, see())) and time.monotonic() < until_s:
        time.sleep(LOOK_S)
    return held
