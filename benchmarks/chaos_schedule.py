"""The random faults of a long job; the same seed gives the same.

A strike comes at a step, or follows the one before: together with it, while the job restarts, or
while gpuops decides to restart it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gpuops.core.drill import FAULTS, RANKS, SAVE_EVERY, Fault

Moment = Literal["training", "stopping", "together", "starting", "restarting"]

# What can be done from outside by a signal.
SIGNALLED = ("kill", "stop", "segv", "agent", "reaper", "orphans", "supervisor", "suspend")
MOMENTS: dict[Moment, tuple[str, ...]] = {
    "training": tuple(name for name in FAULTS if name != "port"),  # is taken before it trains
    "stopping": SIGNALLED,
    "together": (*SIGNALLED, "locks"),
    "starting": (*SIGNALLED, "port", "waiter", "locks"),
    "restarting": ("supervisor", "suspend"),
}
LONGEST_S: dict[Moment, float] = {
    "training": 0.1, "stopping": 1.0, "together": 0.05, "starting": 3.0, "restarting": 1.0,
}  # fmt: skip
FIRST, APART = 12, range(5, 9)  # steps: there are two checkpoints to lose, and a new one each time
MOST_TOGETHER = 3
OFTEN: dict[Moment, int] = {
    "training": 2, "stopping": 1, "together": 3, "starting": 2, "restarting": 6,
}  # fmt: skip
"""How likely each is, where a fault can come at several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault at a moment.

    ``step`` is the one before which it comes, or that of the strike which it follows. ``outside``:
    the campaign commits it, ``delay_s`` after its moment has come; else the job does on itself.
    """

    fault: Fault
    moment: Moment
    rank: int
    step: int
    outside: bool
    delay_s: float

    @property
    def word(self) -> str:
        """What it is called, as the job takes those that it commits on itself."""
        how = f"{self.moment}-" if self.outside else ""
        return f"{self.rank}:{self.step}:{how}{self.fault.name}"


def steps_for(schedules: Sequence[Sequence[Strike]]) -> int:
    """How many steps a job has on which the last strike comes some time before its end."""
    last = max(strikes[-1].step for strikes in schedules)
    return (last // SAVE_EVERY + 3) * SAVE_EVERY


def schedule(seed: str, count: int, names: Sequence[str] = tuple(FAULTS)) -> tuple[Strike, ...]:
    """The strikes of one run, in their order; each kind of fault about as often as any other."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    strikes: list[Strike] = []
    group: list[Strike] = []
    due: list[str] = []
    while len(strikes) < count:
        due = due or chance.sample(names, len(names))
        for name in due:
            moments = [moment for moment in MOMENTS if _fits(name, moment, group, strikes)]
            if moments:
                break
        else:
            due += chance.sample(names, len(names))  # what only follows waits for a leader
            continue
        moment = chance.choices(moments, [OFTEN[moment] for moment in moments])[0]
        strike = _strike(chance, FAULTS[name], moment, strikes)
        if strike.word in {other.word for other in strikes}:
            continue  # the very same once more
        due.remove(name)
        group = [strike] if moment in {"training", "stopping"} else [*group, strike]
        strikes.append(strike)
    return tuple(strikes)


def _strike(
    chance: random.Random, fault: Fault, moment: Moment, before: Sequence[Strike]
) -> Strike:
    step = before[-1].step if before else FIRST
    if moment in {"training", "stopping"}:
        step += chance.choice(APART)
        step += -step % SAVE_EVERY if fault.saving else 0
    signalled = fault.name in SIGNALLED and chance.random() < 0.5
    return Strike(
        fault=fault,
        moment=moment,
        rank=chance.randrange(RANKS) if fault.rank is None else fault.rank,
        step=step,
        outside=moment != "training" or fault.then == "goes on" or signalled,
        delay_s=round(chance.uniform(0, LONGEST_S[moment]), 3),
    )


def _fits(name: str, moment: Moment, group: Sequence[Strike], before: Sequence[Strike]) -> bool:
    """Whether a fault can come at that moment, after those that it would come with."""
    if name not in MOMENTS[moment]:
        return False
    if moment in {"training", "stopping"}:
        return True
    if not group:
        return moment == "starting" and not before
    unwatched = any(strike.fault.name == "supervisor" for strike in group)
    match moment:
        case "together":
            return len(group) == 1 and group[0].moment == "training" and group[0].fault.name != name
        case "starting":
            restarts = group[-1].fault.then != "goes on"
            return restarts and len(group) < MOST_TOGETHER and not unwatched
        case _:
            return group[-1].fault.then == "restarted" and not unwatched
