"""Observes an attempt: its beats, figures and logs, and the vital signs of its processes."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from gpuops.core.hang import detector
from gpuops.core.hang.observation import HangState, Observation, update_state
from gpuops.core.run import paths, telemetry
from gpuops.core.supervision.attempt import Phase
from gpuops.core.supervision.progress import Look, Progress, observe
from gpuops.launch.launch import Launch
from gpuops.system import files
from gpuops.system.gpus.poller import GpuPoller
from gpuops.system.processes import vitals
from gpuops.system.processes.identity import Identity
from gpuops.system.processes.members import Member, MemberRecord
from gpuops.system.processes.process import Job
from gpuops.system.runs import beats as attempt_beats
from gpuops.system.runs import rank_logs
from gpuops.system.runs.telemetry import Recorder
from gpuops.system.tail import Tail

VITALS_EVERY_S = 0.5


class AttemptObserver(AbstractContextManager["AttemptObserver"]):
    """What a supervisor sees of an attempt, poll by poll."""

    def __init__(
        self, launch: Launch, policy: detector.HangPolicy, *, record: bool = False
    ) -> None:
        """``record``: write samples to the run's folder; only its supervisor does."""
        self.progress = Progress()
        self.first_step: int | None = None
        self.assessment: detector.Assessment | None = None
        self.observation: Observation | None = None
        plan, places, root = launch.plan, launch.places, Path(launch.plan.run_dir)
        self._plan, self._policy, self._root = plan, policy, root
        self._begun_s = time.monotonic()
        self._open = ExitStack()
        self._checkpoints = self._open.enter_context(vitals.FolderSize(places.checkpoints))
        self._logs = self._open.enter_context(vitals.FolderSize(root / paths.logs(plan.attempt)))
        self._beats = root / paths.beats(plan.attempt)
        self._metrics = Tail(places.metrics_file, from_end=True) if places.metrics_file else None
        self._figures: dict[str, float] = {}
        streams = ("stdout",) if plan.target.kind == "trainer" else ("stdout", "stderr")
        self._output = [Tail(root / paths.rank_log(plan.attempt, 0, name)) for name in streams]
        gpus = [gpu.index for gpu in plan.devices] if record else []
        self._gpus = self._open.enter_context(GpuPoller(gpus))
        self._recorder = Recorder(root) if record else None
        self._recorded: Observation | None = None
        self._hang = HangState()
        self._due_s = 0.0
        self._members = MemberRecord(Path(plan.state_dir)) if record else None
        self._ranks: dict[int, Identity] = {}
        self._linked = False

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def poll(self, job: Job) -> None:
        """Read everything that is new."""
        beats = attempt_beats.read(self._beats)
        self.progress = observe(self.progress, beats, self._read_figures())
        if self.first_step is None:
            self.first_step = self.progress.step
        now = time.monotonic()
        if now < self._due_s:
            return
        self._due_s = now + VITALS_EVERY_S
        if self._members is not None:
            self._members.look()
        if len(self._ranks) < self._plan.world_size:  # torchrun starts each of them once
            self._ranks |= self._members.ranks if self._members is not None else job.ranks()
        self.observation = Observation(
            now_s=now,
            beats=tuple(beats),
            vitals=vitals.read(sorted(self._ranks.items())),
            log_bytes=self._logs.bytes,
            checkpoint_bytes=self._checkpoints.bytes,
        )
        self._hang = update_state(self._hang, self.observation)
        self.assessment = detector.assess(self._hang, self._policy)
        if self._recorder is not None and self._recorder.due:
            self._recorder.take(self._sample(self.observation))
            self._recorded = self.observation

    @property
    def begun(self) -> bool:
        """Whether it trains; for a script without heartbeats, whether its ranks are there."""
        if self.progress.step is not None or self._plan.target.kind == "trainer":
            return self.progress.step is not None
        return bool(rank_logs.ranks(self._root, self._plan.attempt))

    @property
    def members(self) -> tuple[Member, ...]:
        """The processes of the attempt at the last look, if it records them."""
        return self._members.members if self._members is not None else ()

    @property
    def elapsed_s(self) -> float:
        """For how long it was observed."""
        return time.monotonic() - self._begun_s

    def snapshot(
        self, phase: Phase, *, asked_s: float | None = None, trouble: str | None = None
    ) -> Look:
        """What a screen may show now; it was asked to stop at ``asked_s`` (monotonic)."""
        if not self._linked:
            rank_logs.link(self._plan)
            linked = rank_logs.ranks(self._root, self._plan.attempt)
            self._linked = len(linked) == self._plan.world_size
        flush = phase is Phase.DONE
        return Look(
            phase=phase,
            progress=self.progress,
            lines=tuple(line for tail in self._output for line in tail.lines(flush=flush)),
            partial=next((tail.partial for tail in reversed(self._output) if tail.partial), ""),
            elapsed_s=self.elapsed_s,
            stopping_s=None if asked_s is None else time.monotonic() - asked_s,
            trouble=trouble,
        )

    def _sample(self, seen: Observation) -> telemetry.Sample:
        steps_s = [pace.median_s for pace in self._hang.beats.values() if pace.median_s is not None]
        return telemetry.sample(
            at_s=time.time(),
            attempt=self._plan.attempt,
            step_s=max(steps_s, default=None),
            seen=seen,
            before=self._recorded,
            gpus=self._gpus.newest,
        )

    def _read_figures(self) -> dict[str, float]:
        """The newest training figures that the trainer logged."""
        for row in files.parse_json_lines(self._metrics.lines() if self._metrics else []):
            if row.get("split", "train") == "train":
                self._figures = {k: float(v) for k, v in row.items() if isinstance(v, (int, float))}
        return self._figures
