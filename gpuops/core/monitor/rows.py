"""What the monitor shows of GPUs, jobs and ranks, as values. ``None``: not available."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpuops.core.machine.device import Whose
from gpuops.core.machine.targets import Targets

GpuState = Literal[
    "ok", "busy-other", "excluded", "users unknown", "stuck", "lost", "no permission", "unreadable"
]
JobHealth = Literal["starting", "healthy", "suspect", "hung", "blind", "left alone"]
Level = Literal["info", "good", "warning", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One physical GPU; it keeps its row even if it is lost.

    ``state``: ``ok`` (idle, or used by a run of ours), ``busy-other`` (used by another user's
    process or claim), ``excluded`` (a live run of ours leaves it out, or a scheduler gave it to
    others), ``users unknown`` (its processes cannot be listed), or why it cannot be used, with the
    reason in ``fault``. ``state_age_s``: for how long. ``slow``: why it is slower than it
    could be. ``history``: its utilisation at each sample, the newest last. ``holder``: the run,
    claim or process that holds it.
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
    """One rank. ``progress_age_s`` counts from the last new step or phase, not from the last beat.

    ``usual_steps_per_s`` is its own median; ``data_wait`` the share of a step (0 to 1) spent
    waiting for data; ``process`` the kernel's letter for its state; ``culprit``: this rank causes
    the state of its job.
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
    """A running training job: of gpuops, of torchrun, or of another launcher that sets RANK.

    ``health`` and ``why`` are the monitor's assessment; ``diagnosis`` is the last finding of its
    supervisor, while it is still valid. ``left alone``: a job of another user.
    ``supervisor_stopped``: the pid of its supervisor if that is stopped, as by Ctrl-Z.
    """

    name: str
    run_id: str | None = None
    run_dir: str | None = None
    target: str | None = None
    profile: str | None = None
    user: str | None = None
    ours: bool = True
    supervised: bool | None = None
    supervisor_stopped: int | None = None
    attempt: int | None = None
    started_at_s: float | None = None
    health: JobHealth = "healthy"
    why: str | None = None
    diagnosis: str | None = None
    targets: Targets = field(default_factory=Targets)
    ranks: tuple[RankRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerRow:
    """A process on a GPU that does not belong to a job of ours."""

    gpu: int
    pid: int
    user: str | None = None
    command: str | None = None
    memory_bytes: int | None = None
    started_at_s: float | None = None
    whose: Whose = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a GPU or job, at ``at_s`` (seconds since the epoch)."""

    at_s: float
    words: str
    level: Level = "info"
    gpu: int | None = None
    job: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A piece of advice, with the figure behind it."""

    about: str
    words: str
