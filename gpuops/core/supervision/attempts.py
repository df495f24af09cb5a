"""A run from attempt to attempt as a state machine: ``next_move(state, event) -> (state, move)``.

It decides; ``gpuops.supervise.run`` acts. One attempt while it runs: ``state_machine``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.torchrun_failure import Failure
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
    """How an attempt ended. ``returncode`` is torchrun's; ``stop_signal`` what a person sent."""

    ending: Ending
    returncode: int
    stop_signal: int | None
    failure: Failure | None
    diagnosis: Diagnosis | None
    progress: Progress
    first_step: int | None
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What is known of a run: the attempts that failed since a person launched it.

    ``outcome`` is that of the last attempt, ``decision`` what was decided after it.
    """

    policy: RestartPolicy
    failed: tuple[FailedAttempt, ...] = ()
    outcome: Outcome | None = None
    decision: Restart | Replan | GiveUp | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """An attempt is planned, and what it takes is claimed."""


@dataclass(frozen=True, slots=True)
class Started:
    """The attempt runs: it was started, or another process had started it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt has ended; ``failed`` describes it if it failed for a known reason."""

    outcome: Outcome
    failed: FailedAttempt | None
    now_s: float


@dataclass(frozen=True, slots=True)
class Waited:
    """The pause before the next attempt is over."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A stop signal came during the pause."""

    signal: int


@dataclass(frozen=True, slots=True)
class Unprepared:
    """The next attempt cannot be planned, or what it takes cannot be claimed."""

    why: str
    advice: str


RunEvent = Ready | Started | Ended | Waited | Interrupted | Unprepared


@dataclass(frozen=True, slots=True)
class Start:
    """Start the attempt that is ready."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch the attempt to its end."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait before the next attempt; a stop signal ends the pause."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Prepare:
    """Plan the next attempt, without these GPUs and with half the batch; claim what it takes."""

    without_gpus: tuple[str, ...] = ()
    halve_batch: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over: how its last attempt ended, and why no other follows if one was wanted."""

    outcome: Outcome
    given_up: GiveUp | None = None


Move = Start | Watch | Wait | Prepare | Finish


def next_move(state: RunState, event: RunEvent) -> tuple[RunState, Move]:
    """What an event changes, and what follows it.

    Raises:
        ValueError: the event needs an attempt that has ended, and none has.
    """
    match event:
        case Ready():
            return state, Start()
        case Started():
            return state, Watch()
        case Ended():
            return _after(state, event)
    outcome, decision = state.outcome, state.decision
    if outcome is None or decision is None:
        raise ValueError(f"{event} before any attempt has failed")
    match event:
        case Waited():
            return state, _prepare(decision)
        case Interrupted(signal=number):
            return state, Finish(replace(outcome, ending="stopped", stop_signal=number))
        case Unprepared(why=why, advice=advice):
            return state, Finish(outcome, GiveUp(why=why, advice=advice))


def _prepare(decision: Restart | Replan | GiveUp) -> Prepare:
    if isinstance(decision, Replan):
        return Prepare(decision.without_gpus, decision.halve_batch)
    return Prepare()


def _after(state: RunState, event: Ended) -> tuple[RunState, Move]:
    state = replace(state, outcome=event.outcome, decision=None)
    if event.failed is None:
        return state, Finish(event.outcome)
    failed = (*state.failed, event.failed)
    decision = decide(failed, state.policy, event.now_s)
    state = replace(state, failed=failed, decision=decision)
    if isinstance(decision, GiveUp):
        return state, Finish(event.outcome, decision)
    return state, Wait(decision.after_s)
