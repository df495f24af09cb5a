"""The time from one sign of life to the next, which the limits of the detector adapt to.

All times are those of the hang state's own clock (``gpuops.core.hang.observation``), which counts
only what was watched: a paused host adds nothing to a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 32
ENOUGH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The signs of one source so far: a rank's beats, or the growth of a log.

    ``since_s`` is when the newest sign came, ``mark`` what distinguishes it from the one before,
    ``step_s`` when its step or phase began. ``recent`` holds the seconds of the last training
    steps, as far as observations can separate them; ``longest`` the longest silence after which
    the job went on, by phase. ``trained``: a step was taken before the first sign that was seen.
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
        """The median seconds of a step; ``None`` before the first one."""
        return sorted(self.recent)[len(self.recent) // 2] if self.recent else None

    @property
    def slow_s(self) -> float | None:
        """The seconds of a slow step: the 90th percentile (of a few, the slowest), <= 4 medians.

        Longer ones are evaluations after every few steps, not slow steps; unless the last two
        took even longer: then the job has changed.
        """
        if not self.recent:
            return None
        times = sorted(self.recent)
        slow = min(times[len(times) * 9 // 10], 4 * times[len(times) // 2])
        return max(slow, min(self.recent[-2:]))

    @property
    def known(self) -> bool:
        """Whether enough steps were seen to know how long one takes."""
        return len(self.recent) >= ENOUGH

    @property
    def starting(self) -> bool:
        """Whether no step of training has been seen yet."""
        return self.phase == "start" or not (self.recent or self.trained)

    @property
    def longest_s(self) -> float:
        """The longest silence of this phase after which the job went on; 0 if there was none."""
        return self.longest.get(self.phase, 0.0)


def follow_pace(
    before: Pace,
    *,
    since_s: float,
    mark: float,
    step: int | None = None,
    phase: str = "train",
    learn: bool = True,
) -> Pace:
    """Add a new sign. ``learn`` is false if a stopped rank caused the silence before it.

    A step counts as a training step if it began in training, even if it ended in an evaluation.
    Signs without a step count as steps themselves while the phase stays the same.
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
