"""What the monitor reads at one moment: the GPUs, the training jobs, and the runs' events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuops.core.hang.detector import HangPolicy
from gpuops.core.hang.observation import Observation
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.targets import Targets
from gpuops.core.monitor.jobs import Process, TrainingJob
from gpuops.core.run.record import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run's folder records of an attempt, if readable. ``gpus``: by local rank."""

    target: str | None = None
    profile: str | None = None
    policy: HangPolicy = field(default_factory=HangPolicy)
    gpus: tuple[int, ...] = ()
    exclude_gpus: tuple[str, ...] = ()
    targets: Targets = field(default_factory=Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSample:
    """One training job. ``observation`` is ``None`` for a job of another user.

    ``supervisor_stopped`` is the pid of a supervisor that is stopped. ``events`` are the run's
    events since the last sample; in the first, all of them.
    """

    job: TrainingJob
    observation: Observation | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    supervised: bool | None = None
    supervisor_stopped: int | None = None
    events: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for the same attempt of the same job."""
        job = self.job
        if job.run_dir is not None:
            return job.run_dir, job.attempt
        first = job.agent or job.ranks[0]
        return first.pid, first.start_ticks

    def gpus(self, rank: Process) -> tuple[int, ...]:
        """The GPUs of a rank: those that list it, else the one planned for it."""
        number = rank.local_rank
        planned = self.facts.gpus
        if rank.gpus or number is None or number >= len(planned):
            return rank.gpus
        return (planned[number],)

    @property
    def name(self) -> str:
        """The run's name, or its first process."""
        job = self.job
        return job.run_id or f"pid {(job.agent or job.ranks[0]).pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of the host. ``at_s`` is the time of day, ``clock_s`` CLOCK_MONOTONIC.

    ``between``: the folders of runs without a job now, but with a supervisor that may start one.
    ``ended``: the status of runs that had a job in the last sample and have no process now.
    ``events``: the runs' events since the last sample, by folder, including runs without a job.
    """

    at_s: float
    clock_s: float
    inventory: GpuInventory
    jobs: tuple[JobSample, ...] = ()
    between: frozenset[str] = frozenset()
    ended: Mapping[str, Status] = field(default_factory=dict)
    events: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
