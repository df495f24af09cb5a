"""Whether a job hangs: ``assess(state, policy)`` interprets what ``update_state`` has collected.

``Suspect`` costs one dump of the stacks and must come soon. ``Hung`` ends the job: if it would have
continued, it loses its steps since the last checkpoint, so it comes late. docs/supervision.md has
the table of all limits, each on the silence of *all* ranks that beat. Why they are as they are:

- *5 s, 10 medians*: with two stack samples on top the answer comes within 10 s, or 20 medians.
- *300 s*: half of the time that NCCL itself waits (600 s) before it ends the job. Recompilation, a
  stalled file system or the restart of loader workers take a minute or two, and are not a hang.
- *Slow steps* are the 90th percentile: if steps vary, the limits are longer. The multiples are
  twice what a healthy job may take: a step of 30, an evaluation of 200, a save of 100.
- *1800 s, 600 slow steps*: a job that has not reported both ``evaluate`` and ``save`` may do both
  within ``train``, and its last evaluation, on all data, may be the first long one.
- *State T* is enough evidence: a rank is stopped and its peers wait, so a long ``hang_timeout_s``
  does not help. If all ranks are stopped, or a debugger holds one, it is deliberate.
- *State D* shortens no limit: a large fsync looks like a dead file system, and a process in state D
  cannot be ended anyway.
- *CPU use is not progress*: a wait in a collective takes 0 % over gloo and 100 % over NCCL. Only
  its absence means something, together with silent disks and logs.
- *A growing checkpoint* is a sign of life in every phase.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpuops.core.hang.observation import HangState
from gpuops.core.hang.pace import Pace
from gpuops.text import plural

SUSPECT_S, SUSPECT_STEPS = 5.0, 10
SUSPECT_PHASE_S = 600.0
SUSPECT_QUIET_S, SUSPECT_QUIET_PHASE_S = 10.0, 60.0
SUSPECT_STUCK_S = 60.0
HUNG_STEPS, HUNG_SAVE_STEPS, HUNG_EVALUATE_STEPS = 60, 200, 400
HUNG_HIDDEN_STEPS = HUNG_SAVE_STEPS + HUNG_EVALUATE_STEPS
AGAIN = 3  # a silence may last this many times the longest one after which the job went on

UNREADABLE = "it sends no heartbeats, and neither its logs nor its processes can be read"
TOO_LITTLE = (
    "it sends no heartbeats and logs too little to tell a hang from work; busy CPUs prove nothing, "
    "a wait in an NCCL collective keeps them busy too"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangPolicy:
    """How long a silence may last before the job counts as hung, in seconds.

    ``phased``: a trainer that is known to beat and to report its phases; ``unsaid_s`` is the limit
    for a job that does not report them. ``hang_timeout_s`` is the user's own limit.
    """

    start_s: float = 1800.0
    step_floor_s: float = 300.0
    evaluate_s: float = 3600.0
    save_s: float = 1800.0
    unsaid_s: float = 1800.0
    stopped_s: float = 20.0
    hang_timeout_s: float | None = None
    phased: bool = False


def hang_policy(kind: str | None, hang_timeout_s: float | None) -> HangPolicy:
    """The policy for a kind of target: trainers report their phases, other programs may not."""
    return HangPolicy(hang_timeout_s=hang_timeout_s, phased=kind == "trainer")


@dataclass(frozen=True, slots=True)
class Warming:
    """The job is starting: too few steps were seen to know how long one takes."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """The job moves, or its silence is within the limits; or all its processes have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    ranks: tuple[int, ...]
    phase: str
    idle_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect(_Silence):
    """The stacks of these ranks should be dumped and the user warned; nothing is ended yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung(_Silence):
    """Silent for so long that the job is ended, once the stacks confirm it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """Nothing that can be observed would tell a hang from work."""

    why: str


Assessment = Warming | Healthy | Suspect | Hung | Blind


def to_hung(assessment: Suspect) -> Hung:
    """The same ranks as hung: the stacks have shown that the job cannot go on."""
    return Hung(**asdict(assessment))


def assess(state: HangState, policy: HangPolicy) -> Assessment:
    """Assess the attempt at its last observation.

    Ended processes do not count: torchrun notices them.
    """
    living = [rank for rank, pulse in state.pulses.items() if not pulse.gone]
    if state.pulses and not living:
        return Healthy()
    held = _held(state, policy, living)
    if held is not None:
        return held
    beating = [r for r in state.beats if r not in state.pulses or not state.pulses[r].gone]
    found = _by_beats(state, policy, beating) if beating else _by_signs(state, policy, living)
    return found if isinstance(found, (Suspect, Hung)) else _stuck(state, living) or found


def _held(state: HangState, policy: HangPolicy, living: Sequence[int]) -> Suspect | Hung | None:
    """Stopped ranks. While there are any, no other sign means anything."""
    held = [rank for rank in living if state.pulses[rank].held]
    if not held:
        return None
    idle_s = state.clock_s - min(state.pulses[rank].state_s for rank in held)
    debugged = any(state.pulses[rank].state == "t" for rank in held)
    meant = debugged or held == living
    own_s = policy.hang_timeout_s
    limit_s = own_s or policy.unsaid_s if meant else min(own_s or math.inf, policy.stopped_s)
    if idle_s < min(SUSPECT_S, limit_s):
        return None
    how = "held by a debugger (state t)" if debugged else "stopped (state T)"
    return _suspect_or_hung(state, held, idle_s, limit_s, f"{_format_ranks(held)} {how}")


def _stuck(state: HangState, living: Sequence[int]) -> Suspect | None:
    """Ranks that have been in state D for long without any activity."""
    stuck = {
        rank: state.clock_s - max(pulse.state_s, pulse.active_s)
        for rank in living
        if (pulse := state.pulses[rank]).state == "D"
    }
    ranks = tuple(rank for rank, stuck_s in stuck.items() if stuck_s >= SUSPECT_STUCK_S)
    if not ranks:
        return None
    idle_s = max(stuck.values())
    why = f"{_format_ranks(ranks)} stuck in input/output (state D) for {_format_seconds(idle_s)}"
    return Suspect(ranks=ranks, phase=_phase(state, ranks), idle_s=idle_s, why=why)


def _by_beats(state: HangState, policy: HangPolicy, beating: Sequence[int]) -> Assessment:
    """Assess by beats: the rank that beat last sets the silence, the slowest phase the limit."""
    paces = [state.beats[rank] for rank in beating]
    moves = Healthy() if any(pace.known for pace in paces) else Warming()
    excused_s = max(state.saved_s, state.held_s)
    silences = [state.clock_s - max(pace.since_s, excused_s) for pace in paces]
    soonest_s = min(SUSPECT_S, (policy.hang_timeout_s or SUSPECT_S * 2) / 2)
    if max(silences) < soonest_s:
        return moves
    phased = policy.phased or state.phases.issuperset({"evaluate", "save"})
    limits = [_limits(pace, policy, phased=phased) for pace in paces]
    idle_s, hung_s = min(silences), max(limit_s for _, limit_s in limits)
    # A rank that has been silent for much longer does not show in which phase the others are.
    now = [n for n, silence_s in enumerate(silences) if silence_s <= idle_s + SUSPECT_S]
    suspect_s = min(hung_s, max(limits[n][0] for n in now))
    if all(pace.starting for pace in paces) and state.output is not None and state.output.mark:
        # The only sign of a job that starts.
        idle_s = min(idle_s, state.clock_s - state.output.since_s)
    step_s = max(pace.median_s or 0.0 for pace in paces)
    quiet = False
    if any(paces[n].starting or paces[n].phase != "train" for n in now):
        quiet_s = min(idle_s, _quiet_s(state) or 0.0)
        quiet = quiet_s >= max(SUSPECT_QUIET_PHASE_S, SUSPECT_STEPS * step_s)
    if idle_s >= suspect_s or quiet:
        what = "no beat and no rank at work" if quiet else "no beat"
        usual = f" (a step takes {_format_seconds(step_s)})" if step_s else ""
        return _suspect_or_hung(state, beating, idle_s, hung_s, what, usual)
    for rank, pace, silence_s, (_, limit_s) in zip(beating, paces, silences, limits, strict=True):
        if pace.known and pace.phase == "train" and silence_s - idle_s >= limit_s:
            silence = _format_seconds(silence_s)
            why = f"rank {rank} has not beaten for {silence}, while others went on"
            return Suspect(ranks=(rank,), phase=pace.phase, idle_s=silence_s, why=why)
    return moves


def _by_signs(state: HangState, policy: HangPolicy, living: Sequence[int]) -> Assessment:
    """Assess a job that never beats: it is idle only if everything observable is silent."""
    output, signs, quiet_s = state.output, state.signs, _quiet_s(state)
    if output is None and quiet_s is None:
        return Blind(why=UNREADABLE)
    # A trainer that will beat has not begun yet: its log lines until then are not a pace.
    known = output is not None and output.known and not policy.phased
    unsaid_s = state.clock_s - max(output.since_s if output else 0.0, state.held_s)
    timeout_s = policy.hang_timeout_s if known or state.clock_s >= policy.start_s else None
    if known and timeout_s is not None and unsaid_s >= timeout_s / 2:
        return _suspect_or_hung(state, living, unsaid_s, timeout_s, "nothing logged")
    if quiet_s is not None and signs is not None:
        hung_s = timeout_s or max(policy.unsaid_s, AGAIN * signs.longest_s)
        soon_s = max(SUSPECT_QUIET_S if known else SUSPECT_QUIET_PHASE_S, 2 * signs.longest_s)
        if quiet_s >= min(soon_s, SUSPECT_PHASE_S, hung_s):
            what = "no rank at work and nothing logged"
            return _suspect_or_hung(state, living, quiet_s, hung_s, what)
    if output is not None and known:
        usual_s = output.median_s or 0.0
        used_s = min(2 * output.longest_s, SUSPECT_PHASE_S)
        due_s = max(SUSPECT_QUIET_S, SUSPECT_STEPS * usual_s, used_s)
        if unsaid_s < due_s:
            return Healthy()
        why = (
            f"nothing logged for {_format_seconds(unsaid_s)}, though it usually logs every "
            f"{_format_seconds(usual_s)}; this may not be a hang: a wait in an NCCL collective "
            "keeps CPUs busy, as work does"
        )
        return Suspect(ranks=tuple(living), phase="unknown", idle_s=unsaid_s, why=why)
    return Warming() if unsaid_s < policy.start_s else Blind(why=TOO_LITTLE)


def _limits(pace: Pace, policy: HangPolicy, *, phased: bool) -> tuple[float, float]:
    """The silences in seconds after which a rank is suspect, and hung, in its phase."""
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
    return min(suspect_s, hung_s / 2), hung_s


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
        case _:  # programs may report phases with other names
            return policy.evaluate_s, HUNG_EVALUATE_STEPS


def _quiet_s(state: HangState) -> float | None:
    """For how long no rank was at work; ``None`` if that cannot be observed."""
    living = [pulse for pulse in state.pulses.values() if not pulse.gone]
    if not living or state.signs is None or not all(pulse.readable for pulse in living):
        return None
    return state.clock_s - max(state.signs.since_s, state.held_s)


def _suspect_or_hung(
    state: HangState, ranks: Sequence[int], idle_s: float, hung_s: float, what: str, usual: str = ""
) -> Suspect | Hung:
    limit, hung = _format_seconds(hung_s), idle_s >= hung_s
    counts = f"{limit} is the limit" if hung else f"it counts as hung after {limit}"
    why = f"{what} for {_format_seconds(idle_s)}{usual}; {counts}"
    kind = Hung if hung else Suspect
    return kind(ranks=tuple(ranks), phase=_phase(state, ranks), idle_s=idle_s, why=why)


def _phase(state: HangState, ranks: Sequence[int]) -> str:
    """The phase that these ranks reported last; if they differ, the rarest."""
    phases = [state.beats[rank].phase for rank in ranks if rank in state.beats]
    return min(phases, key=phases.count) if phases else "unknown"


def _format_ranks(ranks: Sequence[int]) -> str:
    return f"{plural(len(ranks), 'rank')} {', '.join(str(rank) for rank in ranks)}"


def _format_seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"
