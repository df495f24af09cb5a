"""One attempt as a state machine: ``step(state, event) -> (state, actions)``.

It decides; ``gpuops.supervise.supervisor`` has the clock and acts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from gpuops.core.hang.detector import Assessment, Hung, Suspect

KILL_AGAIN_S = 1.0
OUTLAST_S = 10.0
"""How long the kernel may take to end what was killed; what is left then is left for good."""


class Phase(Enum):
    """The phase of an attempt."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPolicy:
    """How long each rung of the stop ladder may take, in seconds.

    ``hung_s`` is what a job that hangs gets to save, before it is killed: most of them cannot.
    With ``observe`` a hang is assessed, inspected and recorded, but nothing is ended.
    """

    save_s: float
    terminate_s: float
    hung_s: float = 1.0
    observe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What is known of the attempt. ``rung`` is the next rung of the stop ladder, due then.

    ``suspected``: the assessment that was last inspected, until the job moves again; ``hung``:
    whether it is being ended because it hangs. ``abandoned_s``: since when the reaper has been
    gone while the attempt lives on; ``led``: torchrun was left then, and its ranks were not asked
    to end; ``killed_s``: when it was first killed.
    """

    policy: StopPolicy
    phase: Phase = Phase.STARTING
    stop_signal: int | None = None
    asked_s: float | None = None
    rung: Literal["terminate", "kill"] | None = None
    rung_due_s: float | None = None
    returncode: int | None = None
    suspected: Suspect | Hung | None = None
    hung: bool = False
    abandoned_s: float | None = None
    led: bool = False
    killed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker has reported that it trains; or a script that reports nothing was started."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person or a program asks the job to stop: Ctrl-C, SIGTERM, SIGHUP."""

    signal: int
    now_s: float


@dataclass(frozen=True, slots=True)
class Assessed:
    """Whether the job moves was assessed."""

    assessment: Assessment
    now_s: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    now_s: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The reaper has gone, and others of the attempt live on; ``returncode`` as of ``Exited``.

    ``led``: so does torchrun. The kernel has asked it to end, and it ends the others.
    ``recorded``: the reaper recorded its exit, so it had asked the others to end, and killed them.
    """

    returncode: int
    now_s: float
    led: bool = False
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """The attempt has ended; a negative code is the signal that ended torchrun."""

    returncode: int


Event = Begun | StopRequested | Assessed | Tick | Abandoned | Exited


@dataclass(frozen=True, slots=True)
class Inspect:
    """Gather the evidence, before anything is ended: stacks of all ranks, the culprit."""

    assessment: Suspect | Hung


@dataclass(frozen=True, slots=True)
class AskWorkers:
    """SIGTERM to every worker, or to torchrun if there are none yet: let the job save and end.

    If reaper and torchrun have gone: to all that is left.
    """


@dataclass(frozen=True, slots=True)
class TerminateAgent:
    """SIGTERM to torchrun, which ends its workers."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to torchrun and all its workers, and to what is left without a reaper."""


Action = Inspect | AskWorkers | TerminateAgent | Kill


def step(state: Supervision, event: Event) -> tuple[Supervision, list[Action]]:
    """What an event changes, and what to do about it."""
    if state.phase is Phase.DONE:
        return state, []
    match event:
        case Abandoned():
            return _abandoned(state, event)
        case Exited(returncode=code):
            state = replace(state, phase=Phase.DONE, returncode=code, rung=None, rung_due_s=None)
        case Begun() if state.phase is Phase.STARTING:
            state = replace(state, phase=Phase.RUNNING)
        case StopRequested(signal=number, now_s=now_s):
            return _stop(state, number, now_s)
        case Assessed(assessment=assessment, now_s=now_s) if state.phase is not Phase.STOPPING:
            return _assessed(state, assessment, now_s)
        case Tick(now_s=now_s) if state.rung_due_s is not None and now_s >= state.rung_due_s:
            return _climb(state, now_s)
    return state, []


def _stop(state: Supervision, number: int, now_s: float) -> tuple[Supervision, list[Action]]:
    """The first request stops it gently, on the first rung; the second kills it."""
    ends_anyway = state.abandoned_s is not None and not state.hung
    if ends_anyway and state.stop_signal is None:  # and it may be saving
        return replace(state, stop_signal=number), []
    if state.phase is Phase.STOPPING:
        return _kill(replace(state, stop_signal=state.stop_signal or number), now_s)
    return _ask(replace(state, stop_signal=number), now_s)


def _ask(state: Supervision, now_s: float) -> tuple[Supervision, list[Action]]:
    """The first rung."""
    due = now_s + state.policy.save_s
    asked = replace(state, phase=Phase.STOPPING, asked_s=now_s, rung="terminate", rung_due_s=due)
    return asked, [AskWorkers()]


def _abandoned(state: Supervision, event: Abandoned) -> tuple[Supervision, list[Action]]:
    """Nothing else ends the rest: it is ended like a stop, and given up if it outlasts SIGKILL.

    Ranks that torchrun ends are asked only if it goes before them: asked twice they may not save.
    """
    code, now_s = event.returncode, event.now_s
    if state.abandoned_s is None:
        state = replace(state, abandoned_s=now_s)
        if event.recorded:
            return _kill(replace(state, phase=Phase.STOPPING), now_s)
        if state.phase is Phase.STOPPING:
            return state, []
        state, asking = _ask(state, now_s)
        return replace(state, led=event.led), [] if event.led else asking
    if state.led and not event.led:
        return replace(state, led=False), [AskWorkers()]
    if state.killed_s is not None and now_s - max(state.abandoned_s, state.killed_s) > OUTLAST_S:
        state = replace(state, phase=Phase.DONE, returncode=code, rung=None, rung_due_s=None)
    return state, []


def _assessed(
    state: Supervision, assessment: Assessment, now_s: float
) -> tuple[Supervision, list[Action]]:
    """Evidence first; then the ladder, if the job must be ended at all."""
    if not isinstance(assessment, (Suspect, Hung)):
        return (state if state.suspected is None else replace(state, suspected=None)), []
    if type(assessment) is type(state.suspected):
        return state, []
    suspected = replace(state, suspected=assessment)
    if isinstance(assessment, Suspect) or state.policy.observe:
        return suspected, [Inspect(assessment)]
    ended = replace(suspected, phase=Phase.STOPPING, hung=True, asked_s=now_s)
    due = now_s + state.policy.hung_s
    return replace(ended, rung="kill", rung_due_s=due), [Inspect(assessment), AskWorkers()]


def _climb(state: Supervision, now_s: float) -> tuple[Supervision, list[Action]]:
    """Take the next rung: the one below did not end the job in its time."""
    if state.rung == "kill":
        return _kill(state, now_s)
    due = now_s + state.policy.terminate_s
    return replace(state, rung="kill", rung_due_s=due), [TerminateAgent()]


def _kill(state: Supervision, now_s: float) -> tuple[Supervision, list[Action]]:
    """Kill it, and again later: the processes of a job that starts may not exist yet."""
    killed_s = now_s if state.killed_s is None else state.killed_s
    again = replace(state, rung="kill", rung_due_s=now_s + KILL_AGAIN_S, killed_s=killed_s)
    return again, [Kill()]
