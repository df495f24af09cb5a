"""How long it takes from one sign of life to the next: what a watch's limits adapt to.

All times are those of the watch's own clock (``gpuops.core.hang.detector``), which counts only what
it watched: a paused machine adds nothing to a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 32
ENOUGH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What came so far from one source: a rank's beats, or the growth of a log.

    ``since_s`` is when the newest sign came, ``mark`` what tells it from the one before,
    ``step_s`` when its step or phase began. ``recent`` are the seconds of the last steps of
    training, as far as looks can tell them apart; ``longest`` the longest silence that ended by
    itself, by the phase that it fell into. ``trained``: there was a step
    before the first sign that was seen.
    """

    since_s: float
    mark: float
    step: int | None = None
    phase: str = "train"
    step_s: float = 0.0
    recent: tuple[float, ...] = ()
    longest: Mapping[str, float] = field(default_factory=dict)
    trained: bool = False

    @property
    def median_s(self) -> float | None:
        """The usual step; ``None`` before there was one."""
        return sorted(self.recent)[len(self.recent) // 2] if self.recent else None

    @property
    def slow_s(self) -> float | None:
        """The slow steps: the 90th percentile (of a few, the slowest), at most 4 medians.

        More than that are evaluations after every few steps, and no property of a step; unless
        the last two took even longer: then the job has changed.
        """
        if not self.recent:
            return None
        times = sorted(self.recent)
        slow = min(times[len(times) * 9 // 10], 4 * times[len(times) // 2])
        return max(slow, min(self.recent[-2:]))

    @property
    def known(self) -> bool:
        """Whether enough steps were seen to say how long one takes."""
        return len(self.recent) >= ENOUGH

    @property
    def starting(self) -> bool:
        """Whether no step of training has been seen yet."""
        return self.phase == "start" or not (self.recent or self.trained)

    @property
    def longest_s(self) -> float:
        """The longest silence in the present phase that ended by itself; 0 before there was one."""
        return self.longest.get(self.phase, 0.0)


def follow(
    before: Pace,
    *,
    since_s: float,
    mark: float,
    step: int | None = None,
    phase: str = "train",
    learn: bool = True,
) -> Pace:
    """Take in a new sign. ``learn`` is false where the silence before it was somebody's doing.

    A step counts as one that began in training; that it ended in an evaluation does not matter.
    Signs without a step are steps themselves, while the phase stays the same.
    """
    numbered = step is not None and before.step is not None
    steps = (step or 0) - (before.step or 0) if numbered else int(phase == before.phase)
    begins = steps != 0 or phase != before.phase
    recent, longest = before.recent, before.longest
    if learn:
        if steps > 0 and before.phase == "train":
            recent = (*recent[1 - WINDOW :], (since_s - before.step_s) / steps)
        silence_s = since_s - before.since_s
        if silence_s > before.longest_s:
            longest = {**longest, before.phase: silence_s}
    return Pace(
        since_s=since_s,
        mark=mark,
        step=step,
        phase=phase,
        step_s=since_s if begins else before.step_s,
        recent=recent,
        longest=longest,
        trained=before.trained,
    )
