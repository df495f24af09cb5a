"""The outcome of each strike, and what of it went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos_schedule import Strike

from gpuops.core.drill import Culprit, Step, judge_culprit


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a run has left behind: marks by a strike's word, events, steps.

    ``begun`` are the attempts that came as far as a process.
    """

    marks: Mapping[str, Mapping[str, Any]]
    begun: Sequence[int]
    events: Sequence[Mapping[str, Any]]
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a strike; ``None`` stands for what does not apply or could not be seen.

    ``alone``: nothing else has struck that attempt, so that the figures are its own.
    """

    strike: Strike
    attempt: int | None
    alone: bool = False
    kind: str | None = None
    culprit: Culprit | None = None
    recovered_s: float | None = None
    steps_lost: int | None = None
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of a run: how often it was begun, what was typed, what is wrong."""

    fates: tuple[Fate, ...]
    attempts: int
    typed: tuple[str, ...]
    took_s: float
    wrong: tuple[str, ...]


def account(
    strikes: Sequence[Strike],
    left: Left,
    *,
    typed: Sequence[str] = (),
    wrong: Sequence[str] = (),
    took_s: float = 0.0,
) -> Account:
    """What became of each strike; to what is ``wrong`` already, what is wrong with them is added.

    An attempt that came to an end and that nothing had struck is wrong as well.
    """
    struck: dict[int, list[Strike]] = {}
    for strike in strikes:
        if strike.word in left.marks:
            struck.setdefault(_attempt(left.marks[strike.word]), []).append(strike)
    fates = tuple(_fate(strike, struck, left) for strike in strikes)
    unstruck = [
        f"attempt {number} came to an end, and nothing had struck it: {_why(number, left)}"
        for number in left.begun[:-1]
        if all(map(_spares, struck.get(number, ()))) and _ending(number, left) != "stopped"
    ]
    return Account(
        fates=fates,
        attempts=len(left.begun),
        typed=tuple(typed),
        took_s=took_s,
        wrong=(*wrong, *unstruck, *(one for fate in fates for one in fate.wrong)),
    )


def _fate(strike: Strike, struck: Mapping[int, Sequence[Strike]], left: Left) -> Fate:
    mark = left.marks.get(strike.word)
    if mark is None:
        return Fate(strike=strike, attempt=None, wrong=(f"{strike.word} did not happen",))
    number = _attempt(mark)
    here = struck[number]
    blows = [other for other in here if not _spares(other)]
    if _spares(strike):
        return Fate(strike=strike, attempt=number, alone=len(here) == 1)
    found = _diagnosis(number, left)
    kind = found.get("kind") if found else None
    kinds = {kind for other in blows for kind in other.fault.kinds}
    unwatched = "supervisor" in {other.fault.name for other in here}
    unwatched |= _ending(number, left) == "stopped"
    evaded = strike.fault.name == "port" and _ending(number, left) is None
    wrong = []
    if kind is None and not (unwatched or evaded):
        wrong.append(f"there is no diagnosis after {strike.word}")
    elif kind is not None and kind not in kinds:
        wrong.append(f"{strike.word} is taken for {kind!r}: {_why(number, left)}")
    ranks = {other.rank for other in blows if other.fault.culprit}
    blamed = judge_culprit(ranks, found) if found and strike.fault.culprit else None
    if blamed == "wrong":
        wrong.append(f"{strike.word}: it is sure of rank {found and found.get('rank')}")
    alone = len(here) == 1
    after = [step for step in left.steps if _number(step) > number]
    before = [step.number for step in left.steps if _number(step) <= number]
    return Fate(
        strike=strike,
        attempt=number,
        alone=alone,
        kind=kind,
        culprit=blamed,
        recovered_s=after[0].at_s - float(mark["time"]) if after and alone else None,
        steps_lost=max(before) - after[0].number + 1 if before and after and alone else None,
        wrong=tuple(wrong),
    )


def _spares(strike: Strike) -> bool:
    """Whether the job itself goes on."""
    return strike.fault.then == "goes on"


def _attempt(mark: Mapping[str, Any]) -> int:
    return int(mark["attempt"].rpartition("-")[2])


def _number(step: Step) -> int:
    return int(step.attempt.rpartition("-")[2])


def _diagnosis(number: int, left: Left) -> Mapping[str, Any] | None:
    """The last word on an attempt."""
    said = (e for e in reversed(left.events) if e.get("event") == "diagnosis")
    return next((event for event in said if event.get("attempt") == number), None)


def _ending(number: int, left: Left) -> str | None:
    ended = (e for e in left.events if e.get("event") == "attempt_ended")
    return next((e.get("outcome") for e in ended if e.get("attempt") == number), None)


def _why(number: int, left: Left) -> str:
    found = _diagnosis(number, left)
    return str(found.get("why")) if found else "without a diagnosis"
