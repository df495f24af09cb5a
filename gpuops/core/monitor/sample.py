"""What the monitor sees at one moment: the GPUs, the training jobs, and what runs have noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpuops.core.hang.detector import HangPolicy
from gpuops.core.hang.observation import Observation
from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.jobs import Process, TrainingJob
from gpuops.core.run.record import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run's folder says of an attempt, as far as it can be read. ``gpus``: by local rank."""

    target: str | None = None
    profile: str | None = None
    policy: HangPolicy = field(default_factory=HangPolicy)
    gpus: tuple[int, ...] = ()
    exclude_gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSample:
    """One training job. ``seen`` is ``None`` where it is somebody else's: nobody looks into it.

    ``noted`` are the run's events since the last look; at the first, all of them.
    """

    job: TrainingJob
    seen: Observation | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    supervised: bool | None = None
    noted: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """The same as long as it is the same job in the same attempt."""
        job = self.job
        if job.run_dir is not None:
            return job.run_dir, job.attempt
        first = job.agent or job.ranks[0]
        return first.pid, first.start_ticks

    def gpus(self, rank: Process) -> tuple[int, ...]:
        """The GPUs of a rank: those that list it; else the one that was planned for it."""
        number = rank.number("LOCAL_RANK")
        planned = self.facts.gpus
        if rank.gpus or number is None or number >= len(planned):
            return rank.gpus
        return (planned[number],)

    @property
    def name(self) -> str:
        """The run's name, or the process that leads it."""
        job = self.job
        return job.run_id or f"pid {(job.agent or job.ranks[0]).pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at all of it. ``at_s`` is the time of day, ``clock_s`` CLOCK_MONOTONIC.

    ``between``: the folders of runs that have no job now, but a supervisor that may start one.
    ``ended``: how the runs ended that had a job at the last look and have nobody any more.
    ``noted``: what runs have noted since the last look, by their folder; also those without a job.
    """

    at_s: float
    clock_s: float
    inventory: GpuInventory
    jobs: tuple[JobSample, ...] = ()
    between: frozenset[str] = frozenset()
    ended: Mapping[str, Status] = field(default_factory=dict)
    noted: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
