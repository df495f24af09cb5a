"""Watch an attempt: its beats, figures, logs, and the vital signs of its processes."""

from __future__ import annotations

import time
from pathlib import Path

from gpuops import heartbeat
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.hang import detector
from gpuops.core.hang.observation import HangState, Observation, update_state
from gpuops.core.run import paths, telemetry
from gpuops.core.supervision.progress import Look, Progress, observe
from gpuops.core.supervision.state_machine import Phase, Supervision
from gpuops.launch.launch import Launch
from gpuops.system import files
from gpuops.system.gpus.poller import GpuPoller
from gpuops.system.processes import vitals
from gpuops.system.processes.identity import Identity
from gpuops.system.processes.process import Job
from gpuops.system.runs import rank_logs
from gpuops.system.runs.telemetry import Recorder
from gpuops.system.tail import Tail

VITALS_EVERY_S = 0.5


class AttemptObserver:
    """What a supervisor sees of an attempt, poll by poll."""

    def __init__(
        self,
        launch: Launch,
        policy: detector.HangPolicy,
        *,
        record: bool = False,
    ) -> None:
        """``record``: keep what is seen in the run's folder; its supervisor alone does."""
        self.progress = Progress()
        self.first_step: int | None = None
        self.assessment: detector.Assessment | None = None
        self.observation: Observation | None = None
        plan, places = launch.plan, launch.places
        self._plan, self._policy = plan, policy
        self._checkpoints = vitals.FolderSize(places.checkpoints)
        self._logs = vitals.FolderSize(Path(plan.run_dir, paths.logs(plan.attempt)))
        self._beats = Path(plan.run_dir, paths.beats(plan.attempt))
        self._metrics = Tail(places.metrics_file, from_end=True) if places.metrics_file else None
        self._last: dict[str, float] = {}
        streams = ("stdout",) if plan.target.kind == "trainer" else ("stdout", "stderr")
        root = Path(plan.run_dir)
        self._output = [Tail(root / paths.rank_log(plan.attempt, 0, name)) for name in streams]
        self._gpus = GpuPoller([gpu.index for gpu in plan.devices] if record else [])
        self._recorder = Recorder(root) if record else None
        self._recorded: Observation | None = None
        self._hang = HangState()
        self._due_s = 0.0
        self._ranks: dict[int, Identity] = {}
        self._linked = False

    def __enter__(self) -> AttemptObserver:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._checkpoints.__exit__()
        self._logs.__exit__()
        self._gpus.__exit__()

    def poll(self, job: Job) -> None:
        """Read what there is to see now."""
        beats = heartbeat.read_all(self._beats)
        self.progress = observe(self.progress, beats, self._figures())
        if self.first_step is None:
            self.first_step = self.progress.step
        now = time.monotonic()
        if now < self._due_s:
            return
        self._due_s = now + VITALS_EVERY_S
        if len(self._ranks) < self._plan.world_size:  # torchrun starts each of them once
            self._ranks |= job.ranks()
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
        return bool(rank_logs.ranks(Path(self._plan.run_dir), self._plan.attempt))

    def shown(self, state: Supervision, elapsed_s: float, evidence: Diagnosis | None) -> Look:
        """What a screen may show now."""
        if not self._linked:
            rank_logs.link(self._plan)
            linked = rank_logs.ranks(Path(self._plan.run_dir), self._plan.attempt)
            self._linked = len(linked) == self._plan.world_size
        flush = state.phase is Phase.DONE
        suspected = state.suspected is not None or state.hung
        return Look(
            phase=state.phase,
            progress=self.progress,
            lines=tuple(line for tail in self._output for line in tail.lines(flush=flush)),
            partial=next((tail.partial for tail in reversed(self._output) if tail.partial), ""),
            elapsed_s=elapsed_s,
            stopping_s=None if state.asked_s is None else time.monotonic() - state.asked_s,
            trouble=evidence.why if suspected and evidence is not None else None,
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

    def _figures(self) -> dict[str, float]:
        """The newest training figures that the trainer logged."""
        lines = self._metrics.lines() if self._metrics else []
        for row in files.parse_json_lines(lines):
            if row.get("split", "train") == "train":
                self._last = {k: float(v) for k, v in row.items() if isinstance(v, (int, float))}
        return self._last
