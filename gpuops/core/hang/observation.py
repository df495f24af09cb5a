"""What is observed of an attempt, and the state kept of it: ``update_state(state, observation)``.

Time is counted on the state's own clock: between two observations at most ``HangState.most_s``
pass. So a paused host, or a supervisor that was stopped, adds two seconds to a silence and not the
night; and step times, measured on the same clock, stay comparable with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gpuops.core.hang.pace import Pace, follow_pace
from gpuops.heartbeat import Beat

# A rank at work uses more than this; the threads that a waiting one keeps use less.
ACTIVE_CPU, ACTIVE_IO_BYTES_PER_S = 0.05, 16_384
HELD = frozenset({"T", "t"})
PULSE_S = 0.9  # over less, the kernel's ticks of 10 ms are too coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class RankVitals:
    """What the kernel reports of a rank's process; ``None`` for what it does not report.

    ``state`` is that of its main thread: R S D T t Z, or X once it has ended. ``cpu_s`` counts all
    threads, ``io_bytes`` all it has read and written, ``memory_bytes`` the host memory it holds.
    """

    rank: int
    pid: int
    state: str | None
    cpu_s: float | None
    io_bytes: int | None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything observed of an attempt at one moment of CLOCK_MONOTONIC."""

    now_s: float
    beats: tuple[Beat, ...] = ()
    vitals: tuple[RankVitals, ...] = ()
    log_bytes: int | None = None
    checkpoint_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A rank's process: its state, and the reading that the next one is compared with.

    ``state`` is D, T, t, Z or X, since ``state_s``; ``None`` if it runs or sleeps as any program
    does. A process found stopped is assumed stopped since the job's last beat. ``active_s`` is
    when it was last seen at work.
    """

    state: str | None
    state_s: float
    taken_s: float
    active_s: float
    cpu_s: float | None
    io_bytes: int | None

    @property
    def gone(self) -> bool:
        """Whether it has ended: that is not a hang, and torchrun notices it."""
        return self.state in {"Z", "X"}

    @property
    def held(self) -> bool:
        """Whether it is stopped, or held by a debugger."""
        return self.state in HELD

    @property
    def readable(self) -> bool:
        """Whether its inactivity could be noticed."""
        return self.cpu_s is not None or self.io_bytes is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HangState:
    """What is remembered between observations of one attempt; a new attempt starts with a new one.

    ``clock_s`` is the time watched so far, ``looked_s`` CLOCK_MONOTONIC of the last observation.
    ``beats`` and ``pulses`` are by rank; ``output`` is the growth of logs and checkpoints,
    ``signs`` that growth or any rank's activity. ``held_s`` is when a rank was last seen stopped,
    ``saved_s`` when the checkpoints last grew, ``phases`` the phases reported so far.
    """

    most_s: float = 2.0
    clock_s: float = 0.0
    looked_s: float | None = None
    beats: Mapping[int, Pace] = field(default_factory=dict)
    pulses: Mapping[int, Pulse] = field(default_factory=dict)
    output: Pace | None = None
    signs: Pace | None = None
    log_bytes: int | None = None
    checkpoint_bytes: int | None = None
    held_s: float = 0.0
    saved_s: float = 0.0
    phases: frozenset[str] = frozenset()


def update_state(before: HangState, observation: Observation) -> HangState:
    """Add an observation; they come in the order of time, about twice a second."""
    passed_s = 0.0 if before.looked_s is None else observation.now_s - before.looked_s
    clock_s = before.clock_s + min(max(passed_s, 0.0), before.most_s)
    held = any(reading.state in HELD for reading in observation.vitals)
    held_s = clock_s if held else before.held_s
    beats = _update_paces(before, observation, clock_s, held_s)
    beaten_s = max((pace.since_s for pace in beats.values()), default=clock_s)
    pulses = _update_pulses(before.pulses, observation.vitals, clock_s, beaten_s)
    saved = _changed(before.checkpoint_bytes, observation.checkpoint_bytes)
    grown = saved or _changed(before.log_bytes, observation.log_bytes)
    seen = observation.log_bytes is not None or observation.checkpoint_bytes is not None
    active = any(pulse.active_s == clock_s for pulse in pulses.values())
    readable = any(pulse.readable for pulse in pulses.values())
    return HangState(
        most_s=before.most_s,
        clock_s=clock_s,
        looked_s=observation.now_s,
        beats=beats,
        pulses=pulses,
        output=_update_sign(before.output, clock_s, held_s, seen=seen, came=grown),
        signs=_update_sign(before.signs, clock_s, held_s, seen=readable, came=grown or active),
        log_bytes=_latest(before.log_bytes, observation.log_bytes),
        checkpoint_bytes=_latest(before.checkpoint_bytes, observation.checkpoint_bytes),
        held_s=held_s,
        saved_s=clock_s if saved else before.saved_s,
        phases=before.phases.union(beat.phase for beat in observation.beats),
    )


def trains(beats: Iterable[Beat]) -> bool:
    """Whether a rank has reported a step of training."""
    return any(beat.step is not None and beat.phase != "start" for beat in beats)


def slowest_beat(beats: Iterable[Beat]) -> Beat | None:
    """The beat of the rank that is behind, of those that report steps; its step is the job's."""
    stepping = (beat for beat in beats if beat.step is not None)
    return min(stepping, key=lambda beat: beat.step or 0, default=None)


def _update_paces(
    state: HangState, observation: Observation, clock_s: float, held_s: float
) -> Mapping[int, Pace]:
    """The pace of each rank, updated with the beats that are new."""
    paces = dict(state.beats)
    for beat in observation.beats:
        before = paces.get(beat.rank)
        reported = (beat.monotonic_s, beat.step, beat.phase)
        if before is not None and (before.mark, before.step, before.phase) == reported:
            continue
        # Its own time is exact; but it came after the last observation, which did not contain it.
        age_s = max(0.0, observation.now_s - beat.monotonic_s)
        since_s = max(state.clock_s, clock_s - age_s)
        if before is None:
            paces[beat.rank] = Pace(
                since_s=since_s,
                mark=beat.monotonic_s,
                step=beat.step,
                phase=beat.phase,
                step_s=since_s,
                trained=_grew_by(beat.step_before, beat.step, 0),
                recent=() if beat.step_s is None else (beat.step_s,),
            )
        else:
            paces[beat.rank] = follow_pace(
                before,
                since_s=since_s,
                mark=beat.monotonic_s,
                step=beat.step,
                phase=beat.phase,
                learn=held_s <= before.since_s,
            )
    return paces


def _update_pulses(
    pulses: Mapping[int, Pulse], vitals: tuple[RankVitals, ...], clock_s: float, beaten_s: float
) -> Mapping[int, Pulse]:
    """The ranks' processes now. A rank that is missing among others has ended."""
    if not vitals:
        return pulses
    now = {v.rank: _next_pulse(pulses.get(v.rank), v, clock_s, beaten_s) for v in vitals}
    missing = {
        rank: pulse if pulse.gone else replace(pulse, state="X", state_s=clock_s)
        for rank, pulse in pulses.items()
        if rank not in now
    }
    return missing | now


def _next_pulse(before: Pulse | None, now: RankVitals, clock_s: float, beaten_s: float) -> Pulse:
    state = now.state if now.state in {"D", "T", "t", "Z", "X"} else None
    if before is None:
        return Pulse(
            state=state,
            state_s=beaten_s if state in HELD else clock_s,
            taken_s=clock_s,
            active_s=clock_s,
            cpu_s=now.cpu_s,
            io_bytes=now.io_bytes,
        )
    if state != before.state:
        before = replace(before, state=state, state_s=clock_s)
    span_s = clock_s - before.taken_s
    if span_s < PULSE_S:
        return before
    active = _grew_by(before.cpu_s, now.cpu_s, ACTIVE_CPU * span_s) or _grew_by(
        before.io_bytes, now.io_bytes, ACTIVE_IO_BYTES_PER_S * span_s
    )
    active_s = clock_s if active else before.active_s
    return Pulse(
        state=before.state,
        state_s=before.state_s,
        taken_s=clock_s,
        active_s=active_s,
        cpu_s=now.cpu_s,
        io_bytes=now.io_bytes,
    )


def _update_sign(
    before: Pace | None, clock_s: float, held_s: float, *, seen: bool, came: bool
) -> Pace | None:
    """A sign other than a beat; the silence before the first one is the start, not a pace."""
    if before is None:
        return Pace(since_s=clock_s, mark=0.0, phase="start", step_s=clock_s) if seen else None
    if not came:
        return before
    return follow_pace(before, since_s=clock_s, mark=clock_s, learn=held_s <= before.since_s)


def _changed(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and before != now


def _grew_by(before: float | None, now: float | None, least: float) -> bool:
    return before is not None and now is not None and now - before > least


def _latest(before: int | None, now: int | None) -> int | None:
    return before if now is None else now
