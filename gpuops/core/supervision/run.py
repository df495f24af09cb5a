"""A run from attempt to attempt as a state machine: ``next_move(state, event) -> (state, move)``.

It decides; ``gpuops.supervise.run`` acts. One attempt while it runs: ``attempt``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.torchrun_failure import RankEnd
from gpuops.core.supervision.progress import Progress
from gpuops.core.supervision.restart import (
    FailedAttempt,
    GiveUp,
    Replan,
    Restart,
    RestartPolicy,
    decide,
)

Ending = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended. ``returncode`` is torchrun's; ``stop_signal`` what a person sent.

    ``left`` names its processes that outlast SIGKILL.
    """

    ending: Ending
    returncode: int
    stop_signal: int | None
    failure: RankEnd | None
    diagnosis: Diagnosis | None
    progress: Progress
    first_step: int | None
    duration_s: float
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The attempts that failed since a person launched the run, and how the last attempt ended."""

    policy: RestartPolicy
    failed: tuple[FailedAttempt, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt has ended; ``failed`` describes it if it failed for a known reason."""

    outcome: Outcome
    failed: FailedAttempt | None
    now_s: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A stop signal came during the pause before the next attempt."""

    signal: int


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The next attempt cannot be planned, or what it takes cannot be claimed."""

    why: str
    advice: str


RunEvent = Ended | Interrupted | Unprepared


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over: how its last attempt ended, and why no other follows if one was wanted."""

    outcome: Outcome
    given_up: GiveUp | None = None


def next_move(state: RunState, event: RunEvent) -> tuple[RunState, Restart | Replan | Finish]:
    """What an event changes, and what follows it: another attempt, or the end of the run.

    Raises:
        ValueError: a next attempt was stopped or not prepared, and none has ended before it.
    """
    if isinstance(event, Ended):
        state = replace(state, outcome=event.outcome)
        if event.failed is None:
            return state, Finish(event.outcome)
        state = replace(state, failed=(*state.failed, event.failed))
        decision = decide(state.failed, state.policy, event.now_s)
        return state, Finish(event.outcome, decision) if isinstance(decision, GiveUp) else decision
    if state.outcome is None:
        raise ValueError(f"{event} before any attempt has failed")
    if isinstance(event, Interrupted):
        return state, Finish(replace(state.outcome, ending="stopped", stop_signal=event.signal))
    return state, Finish(state.outcome, GiveUp(why=event.why, advice=event.advice))
