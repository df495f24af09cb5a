"""What the monitor shows, as values: one board is one frame, whole. ``None``: not available."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

GpuState = Literal["ok", "busy-other", "excluded", "stuck", "lost", "no permission", "unreadable"]
JobHealth = Literal["starting", "healthy", "suspect", "hung", "blind", "left alone"]
Level = Literal["info", "good", "warning", "bad"]
Health = Literal["fine", "degraded", "hung", "no driver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One physical GPU; it keeps its row whatever becomes of it.

    ``state``: ``ok`` (idle, or at work for a run of ours), ``busy-other`` (somebody else computes
    on it), ``excluded`` (a living run of ours was told to leave it alone), or why it cannot be
    used, in ``fault``. ``state_age_s`` is how long it has been so. ``slow`` says in words why it
    is slower than it could be. ``history`` are its utilisations, one a look, the newest last.
    ``holder`` says who has it: a run of ours, somebody's claim, or a process.
    """

    index: int
    name: str | None = None
    uuid: str | None = None
    state: GpuState = "ok"
    state_age_s: float = 0.0
    fault: str | None = None
    utilization_pct: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    slow: tuple[str, ...] = ()
    history: tuple[int | None, ...] = ()
    holder: str | None = None

    @property
    def idle(self) -> bool:
        """Whether it could be taken now."""
        return self.state == "ok" and self.holder is None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """One rank. A beat is no progress: ``progress_age_s`` counts from the last new step or phase.

    ``usual_steps_per_s`` is its own median; ``data_wait`` the share of a step (0 to 1) that it
    waits for data; ``process`` the kernel's letter for its state; ``culprit``: what is thought of
    its job is this rank's doing.
    """

    rank: int | None
    pid: int | None = None
    gpus: tuple[int, ...] = ()
    process: str | None = None
    phase: str | None = None
    step: int | None = None
    total_steps: int | None = None
    steps_per_s: float | None = None
    usual_steps_per_s: float | None = None
    loss: float | None = None
    eta_s: float | None = None
    data_wait: float | None = None
    progress_age_s: float | None = None
    beat_age_s: float | None = None
    culprit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A training job that runs: of gpuops, of torchrun, or of something else that sets RANK.

    ``health`` and ``why`` are what is to be thought of it; ``diagnosis`` what its supervisor
    last found out, while it still holds. ``left alone``: somebody else's.
    """

    name: str
    run_id: str | None = None
    run_dir: str | None = None
    target: str | None = None
    profile: str | None = None
    user: str | None = None
    ours: bool = True
    supervised: bool | None = None
    attempt: int | None = None
    started_at_s: float | None = None
    health: JobHealth = "healthy"
    why: str | None = None
    diagnosis: str | None = None
    ranks: tuple[RankRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerRow:
    """A process on a GPU that belongs to no job of ours."""

    gpu: int
    pid: int
    user: str | None = None
    command: str | None = None
    memory_bytes: int | None = None
    started_at_s: float | None = None
    whose: str = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that changed, and when (seconds since the epoch); to which GPU or job."""

    at_s: float
    words: str
    level: Level = "info"
    gpu: int | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What could go better, with the number that says so."""

    about: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """All of it at one moment. ``gaps`` names what could not be read, and why.

    ``absent``: there are no GPUs here, so nobody expects a driver.
    """

    at_s: float
    health: Health = "fine"
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    gpus: tuple[GpuRow, ...] = ()
    jobs: tuple[JobRow, ...] = ()
    strangers: tuple[StrangerRow, ...] = ()
    changes: tuple[Change, ...] = ()
    advice: tuple[Advice, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)
    absent: bool = False
