"""How a job moves: its step, its speed, and how long it will still take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuops.core.hang.observation import slowest_beat
from gpuops.core.supervision.attempt import Phase
from gpuops.heartbeat import Beat

WINDOW = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A job's progress at one moment. ``marks`` are (time, step) of the last observations."""

    step: int | None = None
    total_steps: int | None = None
    phase: str | None = None
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[tuple[float, int], ...] = ()

    @property
    def steps_per_s(self) -> float | None:
        """The speed over the last observations; ``None`` before two steps have been seen."""
        if len(self.marks) < 2:
            return None
        (begin_s, begin), (end_s, end) = self.marks[0], self.marks[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s and end > begin else None

    @property
    def eta_s(self) -> float | None:
        """Seconds to the last step at the present speed; ``None`` if that is unknown."""
        rate = self.steps_per_s
        if rate is None or self.step is None or self.total_steps is None:
            return None
        return max(0, self.total_steps - self.step) / rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a screen may show of an attempt at one moment.

    ``lines`` are rank 0's new ones, ``partial`` the one it has not finished; ``stopping_s`` is the
    time since it was asked to stop; ``trouble`` why it is suspected to hang.
    """

    phase: Phase
    progress: Progress
    elapsed_s: float
    lines: tuple[str, ...] = ()
    partial: str = ""
    stopping_s: float | None = None
    trouble: str | None = None


def observe(
    before: Progress, beats: Sequence[Beat], metrics: Mapping[str, float] | None
) -> Progress:
    """Add the last reports of the ranks. The slowest rank's step is the job's step."""
    slowest = slowest_beat(beats)
    if slowest is None:
        return replace(before, metrics=metrics or before.metrics)
    step, marks = slowest.step or 0, before.marks
    if not marks or step > marks[-1][1]:
        marks = (*marks, (slowest.monotonic_s, step))[-WINDOW:]
    return Progress(
        step=step,
        total_steps=slowest.total_steps,
        phase=slowest.phase,
        loss=slowest.loss,
        metrics=metrics or before.metrics,
        marks=marks,
    )
