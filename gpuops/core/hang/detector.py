"""Whether a job hangs: ``judge(watch, policy)`` says what ``update`` has gathered means.

**Two answers, two prices.** ``Suspect`` costs a look at the stacks and has to come soon. ``Hung``
is acted upon: a job that would have gone on loses its steps since the last checkpoint. So
suspicion is quick and acting is slow. Each silence below is one of *all* ranks that beat.

=====================  =====================================  =====================================
silence while          suspect after                          hung after
=====================  =====================================  =====================================
training               max(5 s, 10 medians)                   max(300 s, 60 slow steps); if it does
                                                              not say its phases: max(1800 s, 600
                                                              slow steps)
evaluating             600 s, or twice the longest so far     max(3600 s, 400 slow steps)
saving                 likewise                               max(1800 s, 200 slow steps)
starting, or done      600 s                                  1800 s
all but training       60 s (or 10 medians) in which nobody
                       uses CPU, disk or log either
a rank in state T      5 s                                    20 s; if all are: 1800 s
a rank in state D      60 s
no beats at all        10 s (at first 60 s), or twice the     1800 s of the same
                       longest so far, in which nobody uses
                       CPU, disk or log
no beats, but busy     10 s, 10 of the usual times between
                       two logs, twice the longest so far
=====================  =====================================  =====================================

Each "hung after" is at least 3 times the longest silence of its kind that ended by itself.

- *5 s, 10 medians*: with two stack samples on top it is still within 10 s, or 20 medians.
- *300 s*: half of what NCCL itself waits (600 s) before it ends the job. Recompiling, a file
  system that stalls, loader workers that start anew take a minute or two, and are no hang.
- *Slow steps* are the 90th percentile: where steps vary, limits reach further. The multiples are
  twice what a healthy job may take: a step of 30, an evaluation of 200, a save of 100.
- *1800 s, 600 slow steps*: a job that has not said both ``evaluate`` and ``save`` may do both in
  one ``train``, and its last evaluation, on all data, may be the first long one.
- *State T* says it all: a rank is stopped and its peers wait. Where all are, or a debugger holds
  one, somebody means it. *State D* shortens nothing: a large fsync looks like a dead file system,
  and a process in it cannot be ended anyway.
- *CPU is no progress*: a wait in a collective takes 0 % over gloo and 100 % over NCCL. Only its
  absence tells anything, together with silent disks and logs. A job that does not beat, is busy
  and logs nothing is suspect at most, or we are blind; ``hang_timeout_s`` may decide.
- *A checkpoint that grows* is a sign of life in every phase.

``hang_timeout_s`` replaces every "hung after" but those of starting and of a job that is done and
cleans up or uploads; suspicion comes at half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpuops.core.hang.observation import HangState, Observation, RankVitals, update
from gpuops.core.hang.pace import Pace
from gpuops.core.units import plural

__all__ = [
    "Blind",
    "HangPolicy",
    "HangState",
    "Healthy",
    "Hung",
    "Observation",
    "RankVitals",
    "Suspect",
    "Verdict",
    "Warming",
    "judge",
    "policy_of",
    "update",
]

SUSPECT_S, SUSPECT_STEPS = 5.0, 10
SUSPECT_PHASE_S = 600.0
SUSPECT_QUIET_S, SUSPECT_QUIET_PHASE_S = 10.0, 60.0
SUSPECT_STUCK_S = 60.0
HUNG_STEPS, HUNG_SAVE_STEPS, HUNG_EVALUATE_STEPS = 60, 200, 400
HUNG_HIDDEN_STEPS = HUNG_SAVE_STEPS + HUNG_EVALUATE_STEPS
AGAIN = 3  # what ended by itself may take so many times as long the next time

UNREADABLE = "it does not beat, and neither its logs nor its processes can be read"
TOO_LITTLE = (
    "it does not beat and logs too little to tell a hang from work; busy CPUs prove nothing, "
    "a wait in an NCCL collective keeps them busy too"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangPolicy:
    """How long a silence may last before it is acted upon, in seconds; the reasons stand above.

    ``phased`` is for a trainer that is known to beat and to say its phases; ``unsaid_s`` for all
    that a job does not say. ``hang_timeout_s`` is a person's own word.
    """

    start_s: float = 1800.0
    step_floor_s: float = 300.0
    evaluate_s: float = 3600.0
    save_s: float = 1800.0
    unsaid_s: float = 1800.0
    stopped_s: float = 20.0
    hang_timeout_s: float | None = None
    phased: bool = False


def policy_of(kind: str | None, hang_timeout_s: float | None) -> HangPolicy:
    """A trainer says its phases; of any other program nobody knows."""
    return HangPolicy(hang_timeout_s=hang_timeout_s, phased=kind == "trainer")


@dataclass(frozen=True, slots=True)
class Warming:
    """It is starting: too little has been seen to say how long a step takes."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """It moves, or is silent no longer than it may be; or all its processes have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """Worth a look at the stacks of these ranks, and a word on the screen; nothing is ended."""

    ranks: tuple[int, ...]
    phase: str
    idle_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung:
    """Silent for so long that it is acted upon, once the stacks confirm it."""

    ranks: tuple[int, ...]
    phase: str
    idle_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """Nothing that can be seen would tell a hang from work."""

    why: str


Verdict = Warming | Healthy | Suspect | Hung | Blind


def as_hung(verdict: Suspect) -> Hung:
    """The same, of a job whose stacks have shown that it cannot go on."""
    return Hung(ranks=verdict.ranks, phase=verdict.phase, idle_s=verdict.idle_s, why=verdict.why)


def judge(watch: HangState, policy: HangPolicy) -> Verdict:
    """What is to be thought of the attempt at its last look.

    Of processes that have ended nothing is said: torchrun sees them.
    """
    living = [rank for rank, pulse in watch.pulses.items() if not pulse.gone]
    if watch.pulses and not living:
        return Healthy()
    held = _held(watch, policy, living)
    if held is not None:
        return held
    beating = [r for r in watch.beats if r not in watch.pulses or not watch.pulses[r].gone]
    verdict = _by_beats(watch, policy, beating) if beating else _by_signs(watch, policy, living)
    return verdict if isinstance(verdict, (Suspect, Hung)) else _stuck(watch, living) or verdict


def _held(watch: HangState, policy: HangPolicy, living: Sequence[int]) -> Suspect | Hung | None:
    """Ranks that somebody stopped. While there are any, nothing else tells anything."""
    held = [rank for rank in living if watch.pulses[rank].held]
    if not held:
        return None
    idle_s = watch.clock_s - min(watch.pulses[rank].state_s for rank in held)
    debugged = any(watch.pulses[rank].state == "t" for rank in held)
    meant = debugged or held == living
    limit_s = policy.hang_timeout_s or (policy.unsaid_s if meant else policy.stopped_s)
    if idle_s < min(SUSPECT_S, limit_s):
        return None
    how = "held by a debugger (state t)" if debugged else "stopped (state T)"
    return _verdict(watch, held, idle_s, limit_s, f"{_named(held)} {how}")


def _stuck(watch: HangState, living: Sequence[int]) -> Suspect | None:
    """Ranks that have been in the kernel for long, and nothing came of it."""
    stuck = {
        rank: watch.clock_s - max(pulse.state_s, pulse.active_s)
        for rank in living
        if (pulse := watch.pulses[rank]).state == "D"
    }
    ranks = tuple(rank for rank, stuck_s in stuck.items() if stuck_s >= SUSPECT_STUCK_S)
    if not ranks:
        return None
    idle_s = max(stuck.values())
    why = f"{_named(ranks)} stuck in input/output (state D) for {_lasting(idle_s)}"
    return Suspect(ranks=ranks, phase=_phase(watch, ranks), idle_s=idle_s, why=why)


def _by_beats(watch: HangState, policy: HangPolicy, beating: Sequence[int]) -> Verdict:
    """A job is as idle as the rank that beat last, and may be so as long as any rank's phase."""
    paces = [watch.beats[rank] for rank in beating]
    moves = Healthy() if any(pace.known for pace in paces) else Warming()
    excused_s = max(watch.saved_s, watch.held_s)
    silences = [watch.clock_s - max(pace.since_s, excused_s) for pace in paces]
    soonest_s = min(SUSPECT_S, (policy.hang_timeout_s or SUSPECT_S * 2) / 2)
    if max(silences) < soonest_s:
        return moves
    phased = policy.phased or watch.phases.issuperset({"evaluate", "save"})
    limits = [_limits(pace, policy, phased=phased) for pace in paces]
    idle_s, hung_s = min(silences), max(limit.hung_s for limit in limits)
    # A rank that has been silent for much longer does not say where the others are.
    now = [n for n, silence_s in enumerate(silences) if silence_s <= idle_s + SUSPECT_S]
    suspect_s = min(hung_s, max(limits[n].suspect_s for n in now))
    if all(pace.starting for pace in paces) and watch.output is not None and watch.output.mark:
        idle_s = min(idle_s, watch.clock_s - watch.output.since_s)  # all it can show at first
    step_s = max(pace.median_s or 0.0 for pace in paces)
    quiet = False
    if any(paces[n].starting or paces[n].phase != "train" for n in now):
        quiet_s = min(idle_s, _quiet_s(watch) or 0.0)
        quiet = quiet_s >= max(SUSPECT_QUIET_PHASE_S, SUSPECT_STEPS * step_s)
    if idle_s >= suspect_s or quiet:
        what = "no beat and no rank at work" if quiet else "no beat"
        usual = f", where a step takes {_lasting(step_s)}" if step_s else ""
        return _verdict(watch, beating, idle_s, hung_s, what, usual)
    for rank, pace, silence_s, limit in zip(beating, paces, silences, limits, strict=True):
        if pace.known and pace.phase == "train" and silence_s - idle_s >= limit.hung_s:
            why = f"rank {rank} has not beaten for {_lasting(silence_s)}, while others went on"
            return Suspect(ranks=(rank,), phase=pace.phase, idle_s=silence_s, why=why)
    return moves


def _by_signs(watch: HangState, policy: HangPolicy, living: Sequence[int]) -> Verdict:
    """A job that never beats: idle only where all that can be seen of it is silent."""
    output, signs, quiet_s = watch.output, watch.signs, _quiet_s(watch)
    if output is None and quiet_s is None:
        return Blind(why=UNREADABLE)
    # A trainer that beats has not begun yet: what it logs until then is no pace.
    known = output is not None and output.known and not policy.phased
    unsaid_s = watch.clock_s - max(output.since_s if output else 0.0, watch.held_s)
    timeout_s = policy.hang_timeout_s if known or watch.clock_s >= policy.start_s else None
    if known and timeout_s is not None and unsaid_s >= timeout_s / 2:
        return _verdict(watch, living, unsaid_s, timeout_s, "nothing logged")
    if quiet_s is not None and signs is not None:
        hung_s = timeout_s or max(policy.unsaid_s, AGAIN * signs.longest_s)
        soon_s = max(SUSPECT_QUIET_S if known else SUSPECT_QUIET_PHASE_S, 2 * signs.longest_s)
        if quiet_s >= min(soon_s, SUSPECT_PHASE_S, hung_s):
            return _verdict(watch, living, quiet_s, hung_s, "no rank at work and nothing logged")
    if output is not None and known:
        usual_s = output.median_s or 0.0
        used_s = min(2 * output.longest_s, SUSPECT_PHASE_S)
        due_s = max(SUSPECT_QUIET_S, SUSPECT_STEPS * usual_s, used_s)
        return _overdue(living, unsaid_s, usual_s) if unsaid_s >= due_s else Healthy()
    return Warming() if unsaid_s < policy.start_s else Blind(why=TOO_LITTLE)


def _overdue(living: Sequence[int], idle_s: float, usual_s: float) -> Suspect:
    """Busy or not to be seen, but not logging as it used to."""
    why = (
        f"nothing logged for {_lasting(idle_s)}, where it logs every {_lasting(usual_s)}; whether "
        "it hangs cannot be told, as a wait in an NCCL collective keeps CPUs busy too"
    )
    return Suspect(ranks=tuple(living), phase="unknown", idle_s=idle_s, why=why)


class _Limits(NamedTuple):
    """The silences after which a rank is suspect, and counts as hung."""

    suspect_s: float
    hung_s: float


def _limits(pace: Pace, policy: HangPolicy, *, phased: bool) -> _Limits:
    """How long a rank may be silent in its phase."""
    floor_s, steps = _hung_after(pace, policy, phased=phased)
    hung_s = max(floor_s, steps * (pace.slow_s or 0.0), AGAIN * pace.longest_s)
    if policy.hang_timeout_s is not None and not pace.starting and pace.phase != "done":
        hung_s = policy.hang_timeout_s
    suspect_s = SUSPECT_PHASE_S
    if not pace.starting and pace.phase == "train":
        suspect_s = SUSPECT_S
    elif pace.phase != "start" and pace.longest_s:
        suspect_s = max(SUSPECT_S, 2 * pace.longest_s)
    suspect_s = max(suspect_s, SUSPECT_STEPS * (pace.median_s or 0.0))
    return _Limits(min(suspect_s, hung_s / 2), hung_s)


def _hung_after(pace: Pace, policy: HangPolicy, *, phased: bool) -> tuple[float, int]:
    """The least silence that counts as a hang, in seconds and in slow steps."""
    match pace.phase:
        case "train" if pace.known and phased:
            return policy.step_floor_s, HUNG_STEPS
        case "train" if pace.known:
            return policy.unsaid_s, HUNG_HIDDEN_STEPS
        case "train" | "start":
            return policy.start_s, HUNG_HIDDEN_STEPS
        case "save":
            return policy.save_s, HUNG_SAVE_STEPS
        case "done":
            return policy.unsaid_s, 0
        case _:  # other languages may have names of their own
            return policy.evaluate_s, HUNG_EVALUATE_STEPS


def _quiet_s(watch: HangState) -> float | None:
    """For how long nothing of the job was at work; ``None`` where that cannot be seen."""
    living = [pulse for pulse in watch.pulses.values() if not pulse.gone]
    if not living or watch.signs is None or not all(pulse.readable for pulse in living):
        return None
    return watch.clock_s - max(watch.signs.since_s, watch.held_s)


def _verdict(
    watch: HangState, ranks: Sequence[int], idle_s: float, hung_s: float, what: str, usual: str = ""
) -> Suspect | Hung:
    phase, since = _phase(watch, ranks), f"{what} for {_lasting(idle_s)}{usual}"
    if idle_s >= hung_s:
        why = f"{since}; {_lasting(hung_s)} is the limit"
        return Hung(ranks=tuple(ranks), phase=phase, idle_s=idle_s, why=why)
    why = f"{since}; it counts as hung after {_lasting(hung_s)}"
    return Suspect(ranks=tuple(ranks), phase=phase, idle_s=idle_s, why=why)


def _phase(watch: HangState, ranks: Sequence[int]) -> str:
    """What these ranks said last; where they differ, what the fewest said."""
    said = [watch.beats[rank].phase for rank in ranks if rank in watch.beats]
    return min(said, key=said.count) if said else "unknown"


def _named(ranks: Sequence[int]) -> str:
    return f"{plural(len(ranks), 'rank')} {', '.join(str(rank) for rank in ranks)}"


def _lasting(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"
