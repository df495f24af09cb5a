"""The history of a run, in order: its attempts, its problems, and when it ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from gpuops.core.diagnosis.diagnosis import Diagnosis, format_page, format_title
from gpuops.core.run.record import LAST_S, Attempt
from gpuops.core.run.telemetry import Sample

Event = Mapping[str, Any]
Number = TypeVar("Number", int, float)
Item = TypeVar("Item")
DECISIONS = {"restart": "again", "replan": "planned again", "giveup": "given up"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpan:
    """An attempt: when it ran (seconds since the epoch), its steps, and how it ended.

    ``begun_s`` is the run's running time before it, ``follows`` the decision after it.
    """

    number: int
    started_at: float
    ended_at: float
    begun_s: float
    first_step: int | None
    last_step: int | None
    ending: str
    follows: str | None

    @property
    def duration_s(self) -> float:
        """Its running time in seconds."""
        return self.ended_at - self.started_at

    def running_s(self, at_s: float) -> float:
        """The run's running time at a moment (seconds since the epoch)."""
        return self.begun_s + min(max(0.0, at_s - self.started_at), self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A real or suspected problem: ``what`` is suspected, hung or crashed.

    ``text`` is its whole diagnosis, if that is kept.
    """

    attempt: int
    at_s: float
    what: str
    title: str
    why: str
    advice: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A mark in the charts: at a running time, and at a step if it has one."""

    running_s: float
    step: int | None
    kind: str
    words: str


def by_attempt(
    items: Iterable[Item], attempt_of: Callable[[Item], object]
) -> dict[int, list[Item]]:
    """Items in their order, by attempt; without those that name none."""
    found: dict[int, list[Item]] = {}
    for item in items:
        if isinstance(number := attempt_of(item), int):
            found.setdefault(number, []).append(item)
    return found


def spans(
    attempts: Sequence[Attempt], events: Sequence[Event], samples: Sequence[Sample], now_s: float
) -> tuple[AttemptSpan, ...]:
    """All attempts with a known beginning; a running one lasts until ``now_s``."""
    found: list[AttemptSpan] = []
    happened = by_attempt(events, lambda event: event.get("attempt"))
    sampled = by_attempt(samples, lambda sample: sample.attempt)
    for attempt in attempts:
        own, seen = happened.get(attempt.number, []), sampled.get(attempt.number, [])
        times = [time for time in map(_time, own) if time is not None]
        recorded = _time({"time": attempt.started_at})
        started_at = _first(recorded, *times[:1], *(s.at_s for s in seen[:1]))
        if started_at is None:
            continue
        known = [*times[-1:], *(sample.at_s for sample in seen[-1:]), started_at]
        last_s = now_s if attempt.alive else max(known)
        ended_at = _first(_time({"time": attempt.ended_at}), last_s) or started_at
        ended = next((e for e in reversed(own) if e.get("event") == "attempt_ended"), {})
        steps = [sample.step for sample in seen if sample.step is not None]
        decided = ((DECISIONS.get(str(e.get("event"))), e.get("why")) for e in reversed(own))
        follows = next((f"{what}, {why}" for what, why in decided if what), None)
        found.append(
            AttemptSpan(
                number=attempt.number,
                started_at=started_at,
                ended_at=max(started_at, ended_at),
                begun_s=found[-1].begun_s + found[-1].duration_s if found else 0.0,
                first_step=_first(_whole(ended.get("first_step")), min(steps, default=None)),
                last_step=_first(_whole(ended.get("step")), max(steps, default=None)),
                ending=_ending(attempt, ended),
                follows=follows,
            )
        )
    return tuple(found)


def troubles(
    events: Sequence[Event], diagnoses: Mapping[tuple[int, str], Diagnosis]
) -> tuple[Trouble, ...]:
    """All diagnoses, in order; the newest of a kind and attempt with its text."""
    found: list[Trouble] = []
    kept = dict(diagnoses)
    for event in reversed(events):
        attempt, what, time = _whole(event.get("attempt")), event.get("what"), _time(event)
        if event.get("event") != "diagnosis" or attempt is None or time is None:
            continue
        whole = kept.pop((attempt, str(what)), None)
        kind = str(event.get("kind") or "unknown").capitalize()
        found.append(
            Trouble(
                attempt=attempt,
                at_s=time,
                what=str(what),
                title=format_title(whole) if whole else kind,
                why=str(whole.why if whole else event.get("why") or ""),
                advice=whole.advice if whole else None,
                text=format_page(whole) if whole else None,
            )
        )
    return tuple(reversed(found))


def marks(found: Sequence[AttemptSpan], wrong: Sequence[Trouble]) -> tuple[Mark, ...]:
    """The marks of the charts: the beginnings of attempts, and the problems."""
    by_number = {span.number: span for span in found}
    begun, met = [], []
    for before, after in pairwise(found):
        words = f"attempt {after.number}{f': {before.follows}' if before.follows else ''}"
        at_s, step = after.begun_s, after.first_step
        begun.append(Mark(running_s=at_s, step=step, kind="attempt", words=words))
    for trouble in wrong:
        if (span := by_number.get(trouble.attempt)) is not None:
            words = f"attempt {span.number} {trouble.what}: {trouble.title}"
            at_s, step = span.running_s(trouble.at_s), span.last_step
            met.append(Mark(running_s=at_s, step=step, kind=trouble.what, words=words))
    return (*begun, *sorted(met, key=lambda mark: mark.running_s))


def _ending(attempt: Attempt, ended: Event) -> str:
    if attempt.alive:
        return "running"
    outcome = ended.get("outcome")
    if isinstance(outcome, str):
        return outcome
    if attempt.returncode is None:
        return "elsewhere" if attempt.elsewhere else "lost"
    return "failed" if attempt.returncode else "finished"


def _time(event: Event) -> float | None:
    time: Any = event.get("time")
    number = isinstance(time, (int, float)) and not isinstance(time, bool)
    return float(time) if number and 0 < time < LAST_S else None


def _whole(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**63 else None


def _first(*values: Number | None) -> Number | None:
    return next((value for value in values if value is not None), None)
