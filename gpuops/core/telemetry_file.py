"""How a recording lies in its file: rows of a fixed size, so that one is added by appending it.

Little-endian, as another program may read it::

    header   8 s "gpuopsT1", f64 seconds between samples, u16 number of cards,
             then the index of each, u16
    a row    f64 seconds since the epoch, i64 step, u16 attempt, u8 phase (its place in
             gpuops.heartbeat.PHASES), u8 unused, f64 loss, f64 seconds of a step, f64 share of it
             spent waiting for data, f64 CPU cores in use, f64 bytes of memory;
             then of each card: u8 utilisation in %, u8 degrees C, u16 W, u32 MiB in use
    -1, NaN and the largest unsigned number stand for "not available".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gpuops.core.telemetry import FIRST_S, LAST_S, CardSample, Recording, Sample
from gpuops.core.units import MIB
from gpuops.heartbeat import PHASES

MOST_BYTES = 256 * 1024

_MAGIC = b"gpuopsT1"
_HEADER = struct.Struct("<8sdH")
_ROW = struct.Struct("<dqHBx5d")
_CARD = struct.Struct("<BBHI")
_BYTE, _SHORT, _LONG = 0xFF, 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where what lies: ``cards`` are those that a row has a place for."""

    every_s: float = FIRST_S
    cards: tuple[int, ...] = ()

    @property
    def header_bytes(self) -> int:
        """Where the rows begin."""
        return _HEADER.size + 2 * len(self.cards)

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return _ROW.size + _CARD.size * len(self.cards)

    @property
    def most_rows(self) -> int:
        """How many rows there may be."""
        return max(2, (MOST_BYTES - self.header_bytes) // self.row_bytes)


def layout(data: bytes) -> Layout | None:
    """What the beginning of a file says; ``None`` where that is no recording of ours."""
    if len(data) < _HEADER.size:
        return None
    magic, every_s, count = _HEADER.unpack_from(data)
    if magic != _MAGIC or len(data) < _HEADER.size + 2 * count or not FIRST_S <= every_s < math.inf:
        return None
    return Layout(every_s=every_s, cards=struct.unpack_from(f"<{count}H", data, _HEADER.size))


def decode(data: bytes) -> Recording:
    """All whole rows of a file that make sense; what is none of ours holds none."""
    found = layout(data)
    if found is None:
        return Recording()
    ends = range(found.header_bytes + found.row_bytes, len(data) + 1, found.row_bytes)
    rows = (_sample(data, end - found.row_bytes, found.cards) for end in ends)
    return Recording(every_s=found.every_s, samples=tuple(row for row in rows if row is not None))


def encode(recording: Recording, cards: Sequence[int]) -> bytes:
    """A whole file, with a place for these cards."""
    header = _HEADER.pack(_MAGIC, recording.every_s, len(cards))
    rows = (row(sample, cards) for sample in recording.samples)
    return b"".join((header, struct.pack(f"<{len(cards)}H", *cards), *rows))


def row(sample: Sample, cards: Sequence[int]) -> bytes:
    """One sample, to be appended."""
    job = _ROW.pack(
        sample.at_s,
        -1 if sample.step is None else min(sample.step, 2**63 - 1),
        min(sample.attempt, _SHORT),
        PHASES.index(sample.phase) if sample.phase in PHASES else _BYTE,
        _number(sample.loss),
        _number(sample.step_s),
        _number(sample.data_wait),
        _number(sample.cpu_cores),
        _number(sample.memory_bytes),
    )
    return job + b"".join(_card(sample.cards.get(index)) for index in cards)


def _card(card: CardSample | None) -> bytes:
    card = card or CardSample()
    memory = card.memory_used_bytes
    return _CARD.pack(
        _whole(card.utilization_pct, _BYTE),
        _whole(card.temperature_c, _BYTE),
        _whole(card.power_w, _SHORT),
        _whole(None if memory is None else memory / MIB, _LONG),
    )


def _sample(data: bytes, offset: int, cards: Sequence[int]) -> Sample | None:
    at_s, step, attempt, phase, *numbers = _ROW.unpack_from(data, offset)
    if not (0 < at_s < LAST_S and attempt):
        return None  # zeros, where the machine went down before it was really written
    loss, step_s, data_wait, cpu_cores, memory = (None if math.isnan(n) else n for n in numbers)
    places = range(offset + _ROW.size, offset + _ROW.size + _CARD.size * len(cards), _CARD.size)
    return Sample(
        at_s=at_s,
        attempt=attempt,
        step=None if step < 0 else step,
        phase=PHASES[phase] if phase < len(PHASES) else None,
        loss=loss,
        step_s=step_s,
        data_wait=data_wait,
        cpu_cores=cpu_cores,
        memory_bytes=memory,
        cards={
            index: _card_sample(*_CARD.unpack_from(data, place))
            for index, place in zip(cards, places, strict=True)
        },
    )


def _card_sample(utilization: int, temperature: int, power: int, memory: int) -> CardSample:
    return CardSample(
        utilization_pct=None if utilization == _BYTE else utilization,
        temperature_c=None if temperature == _BYTE else temperature,
        power_w=None if power == _SHORT else power,
        memory_used_bytes=None if memory == _LONG else memory * MIB,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _whole(value: float | None, unknown: int) -> int:
    """A reading without its fraction; the largest number stands for none."""
    return unknown if value is None else max(0, min(round(value), unknown - 1))
