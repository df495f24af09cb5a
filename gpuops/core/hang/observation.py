"""What can be seen of an attempt, and what is remembered of it: ``update(watch, observation)``.

Time is counted on the watch's own clock: between two looks at most ``HangState.most_s`` pass. So a
paused machine, or a supervisor that was stopped, adds two seconds to a silence and not the night;
and step times, measured on the same clock, stay comparable with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuops.core.hang.pace import Pace, follow
from gpuops.heartbeat import Beat

# A rank at work uses more than this; the threads that a waiting one keeps use less.
ACTIVE_CPU, ACTIVE_IO_BYTES_PER_S = 0.05, 16_384
HELD = frozenset({"T", "t"})
PULSE_S = 0.9  # over less, the kernel's ticks of 10 ms are too coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class RankVitals:
    """What the kernel says of a rank's process; ``None`` where it does not say.

    ``state`` is its main thread's: R S D T t Z, X where it has gone. ``cpu_s`` is of all threads,
    ``io_bytes`` what it has read and written, ``memory_bytes`` what it holds of the host's memory.
    """

    rank: int
    pid: int
    state: str | None
    cpu_s: float | None
    io_bytes: int | None
    threads: int | None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """All that can be seen of an attempt at one moment of CLOCK_MONOTONIC."""

    now_s: float
    beats: tuple[Beat, ...] = ()
    vitals: tuple[RankVitals, ...] = ()
    log_bytes: int | None = None
    checkpoint_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A rank's process: its state, and the reading that the next one is compared with.

    ``state`` is D, T, t, Z or X, in it since ``state_s``; ``None`` where it runs or sleeps as
    any program does. Who was found stopped has been so, for all that is known, since the job's last
    beat. ``active_s`` is when it was last seen at work.
    """

    state: str | None
    state_s: float
    taken_s: float
    active_s: float
    cpu_s: float | None
    io_bytes: int | None

    @property
    def gone(self) -> bool:
        """Whether it has ended: that is no hang, and torchrun sees it."""
        return self.state in {"Z", "X"}

    @property
    def held(self) -> bool:
        """Whether it was stopped, or a debugger holds it."""
        return self.state in HELD

    @property
    def readable(self) -> bool:
        """Whether it would be noticed if it did nothing."""
        return self.cpu_s is not None or self.io_bytes is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HangState:
    """What is remembered between looks at one attempt; a new attempt gets a new one.

    ``clock_s`` is the time watched so far, ``looked_s`` CLOCK_MONOTONIC at the last look. ``beats``
    and ``pulses`` are by rank; ``output`` is how logs and checkpoints grow, ``signs`` that or any
    rank's work. ``held_s`` is when a rank was last seen stopped, ``saved_s`` when the checkpoints
    last grew, ``phases`` what the ranks have said so far.
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


def update(watch: HangState, observation: Observation) -> HangState:
    """Take in an observation; they come in the order of time, about twice a second."""
    passed_s = 0.0 if watch.looked_s is None else observation.now_s - watch.looked_s
    clock_s = watch.clock_s + min(max(passed_s, 0.0), watch.most_s)
    held = any(reading.state in HELD for reading in observation.vitals)
    held_s = clock_s if held else watch.held_s
    beats = _hear(watch, observation, clock_s, held_s)
    beaten_s = max((pace.since_s for pace in beats.values()), default=clock_s)
    pulses = _feel(watch.pulses, observation.vitals, clock_s, beaten_s)
    saved = _differ(watch.checkpoint_bytes, observation.checkpoint_bytes)
    grown = saved or _differ(watch.log_bytes, observation.log_bytes)
    seen = observation.log_bytes is not None or observation.checkpoint_bytes is not None
    active = any(pulse.active_s == clock_s for pulse in pulses.values())
    readable = any(pulse.readable for pulse in pulses.values())
    return HangState(
        most_s=watch.most_s,
        clock_s=clock_s,
        looked_s=observation.now_s,
        beats=beats,
        pulses=pulses,
        output=_sign(watch.output, clock_s, held_s, seen=seen, came=grown),
        signs=_sign(watch.signs, clock_s, held_s, seen=readable, came=grown or active),
        log_bytes=_newest(watch.log_bytes, observation.log_bytes),
        checkpoint_bytes=_newest(watch.checkpoint_bytes, observation.checkpoint_bytes),
        held_s=held_s,
        saved_s=clock_s if saved else watch.saved_s,
        phases=watch.phases.union(beat.phase for beat in observation.beats),
    )


def _hear(
    watch: HangState, observation: Observation, clock_s: float, held_s: float
) -> Mapping[int, Pace]:
    """The beats that are new since the last look."""
    paces = dict(watch.beats)
    for beat in observation.beats:
        before = paces.get(beat.rank)
        said = (beat.monotonic_s, beat.step, beat.phase)
        if before is not None and (before.mark, before.step, before.phase) == said:
            continue
        # Its own time is exact; but it came after the last look, or that would have seen it.
        age_s = max(0.0, observation.now_s - beat.monotonic_s)
        since_s = max(watch.clock_s, clock_s - age_s)
        if before is None:
            paces[beat.rank] = Pace(
                since_s=since_s,
                mark=beat.monotonic_s,
                step=beat.step,
                phase=beat.phase,
                step_s=since_s,
                trained=_more(beat.step_before, beat.step, 0),
                recent=() if beat.step_s is None else (beat.step_s,),
            )
        else:
            paces[beat.rank] = follow(
                before,
                since_s=since_s,
                mark=beat.monotonic_s,
                step=beat.step,
                phase=beat.phase,
                learn=held_s <= before.since_s,
            )
    return paces


def _feel(
    pulses: Mapping[int, Pulse], vitals: tuple[RankVitals, ...], clock_s: float, beaten_s: float
) -> Mapping[int, Pulse]:
    """The ranks' processes now. Who is not there among others that are has gone."""
    if not vitals:
        return pulses
    felt = {
        reading.rank: _pulse(pulses[reading.rank], reading, clock_s)
        if reading.rank in pulses
        else _found(reading, clock_s, beaten_s)
        for reading in vitals
    }
    for rank, pulse in pulses.items():
        if rank not in felt:
            felt[rank] = pulse if pulse.gone else _in_state(pulse, "X", clock_s)
    return felt


def _found(now: RankVitals, clock_s: float, beaten_s: float) -> Pulse:
    """A process seen for the first time."""
    return Pulse(
        state=_state(now),
        state_s=beaten_s if now.state in HELD else clock_s,
        taken_s=clock_s,
        active_s=clock_s,
        cpu_s=now.cpu_s,
        io_bytes=now.io_bytes,
    )


def _pulse(before: Pulse, now: RankVitals, clock_s: float) -> Pulse:
    state, span_s = _state(now), clock_s - before.taken_s
    if span_s < PULSE_S:
        return before if state == before.state else _in_state(before, state, clock_s)
    active = _more(before.cpu_s, now.cpu_s, ACTIVE_CPU * span_s) or _more(
        before.io_bytes, now.io_bytes, ACTIVE_IO_BYTES_PER_S * span_s
    )
    return Pulse(
        state=state,
        state_s=before.state_s if before.state == state else clock_s,
        taken_s=clock_s,
        active_s=clock_s if active else before.active_s,
        cpu_s=now.cpu_s,
        io_bytes=now.io_bytes,
    )


def _state(now: RankVitals) -> str | None:
    return now.state if now.state in {"D", "T", "t", "Z", "X"} else None


def _in_state(pulse: Pulse, state: str | None, clock_s: float) -> Pulse:
    return Pulse(
        state=state,
        state_s=clock_s,
        taken_s=pulse.taken_s,
        active_s=pulse.active_s,
        cpu_s=pulse.cpu_s,
        io_bytes=pulse.io_bytes,
    )


def _sign(
    before: Pace | None, clock_s: float, held_s: float, *, seen: bool, came: bool
) -> Pace | None:
    """A sign that is no beat; what precedes the first one is no usual silence, but the start."""
    if before is None:
        return Pace(since_s=clock_s, mark=0.0, phase="start", step_s=clock_s) if seen else None
    if not came:
        return before
    return follow(before, since_s=clock_s, mark=clock_s, learn=held_s <= before.since_s)


def _differ(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and before != now


def _more(before: float | None, now: float | None, least: float) -> bool:
    return before is not None and now is not None and now - before > least


def _newest(before: int | None, now: int | None) -> int | None:
    return before if now is None else now
