"""What is recorded of a run, and how it lies in its file."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gpuops.core import telemetry_file
from gpuops.core.device import Device
from gpuops.core.telemetry import CardSample, Recording, Sample, sample, thinned
from gpuops.core.telemetry_file import Layout, decode, encode, layout, row
from gpuops.core.watch import Observation, RankVitals
from gpuops.heartbeat import PHASES, Beat

MIB = 1024**2
GPU = CardSample(utilization_pct=98, temperature_c=71, power_w=412, memory_used_bytes=20_000 * MIB)
NOW = 1_795_633_411.25


def beat(rank, step, loss=0.5, wait=0.1, phase="train"):
    return Beat(
        pid=100 + rank,
        rank=rank,
        step=step,
        total_steps=None,
        loss=loss,
        data_wait=wait,
        monotonic_s=0.0,
        phase=phase,
    )


def vitals(rank, cpu_s, memory_bytes=None):
    return RankVitals(
        rank=rank,
        pid=100 + rank,
        state="S",
        cpu_s=cpu_s,
        io_bytes=None,
        threads=1,
        memory_bytes=memory_bytes,
    )


def taken(seen, before=None, cards=()):
    return sample(at_s=NOW, attempt=1, step_s=0.25, seen=seen, before=before, cards=cards)


def at(second, **said):
    return Sample(at_s=NOW + second, attempt=said.pop("attempt", 1), **said)


def test_the_slowest_rank_is_the_jobs():
    """Its step, its loss; data is waited for as long as by all on average; memory is their sum."""
    seen = Observation(
        now_s=10.0,
        beats=(beat(0, 41, 0.3, 0.0), beat(1, 40, 0.4, 0.5)),
        vitals=(vitals(0, 5.0, 3 * MIB), vitals(1, None, 4 * MIB)),
    )
    found = taken(seen, cards=[Device(index=3, power_w=100.5)])

    assert (40, 0.4, 0.25, 0.25) == (found.step, found.loss, found.data_wait, found.step_s)
    assert (7 * MIB, None) == (found.memory_bytes, found.cpu_cores)
    assert {3: CardSample(power_w=100.5)} == found.cards


def test_where_no_step_was_taken_nothing_is_said_of_one():
    """A job that stands still has no loss and no step time; the old ones are not said again."""
    seen = Observation(now_s=10.0, beats=(beat(0, 40),))
    found = taken(replace(seen, now_s=11.0), before=seen)

    assert 40 == found.step
    assert (None, None, None) == (found.loss, found.step_s, found.data_wait)


def test_processor_time_is_that_of_processes_seen_twice():
    """A rank that was not there before has no share yet; nobody at all is not zero."""
    before = Observation(now_s=10.0, vitals=(vitals(0, 5.0),))
    seen = Observation(now_s=12.0, vitals=(vitals(0, 8.0), vitals(1, 2.0)))

    assert 1.5 == taken(seen, before).cpu_cores
    assert taken(replace(seen, vitals=(vitals(1, 2.0),)), before).cpu_cores is None


def test_two_samples_become_one():
    """Means of what varies, the most of what is in use, the place of the later one."""
    cold = CardSample(utilization_pct=50, temperature_c=60, memory_used_bytes=9)
    samples = (
        at(0, step=1, loss=4.0, memory_bytes=9.0, cards={0: GPU}),
        at(1, step=3, loss=2.0, memory_bytes=7.0, cards={0: cold, 1: cold}),
        at(2, step=5, attempt=1),
        at(3, step=2, attempt=2),
        at(4, step=4, attempt=2),
    )
    found = thinned(Recording(every_s=8.0, samples=samples))

    assert 16.0 == found.every_s
    assert [(1, 3), (2, 2), (2, 4)] == [(one.attempt, one.step) for one in found.samples]
    first = found.samples[0]
    assert (NOW + 1, 3.0, 9.0) == (first.at_s, first.loss, first.memory_bytes)
    assert {
        0: replace(GPU, utilization_pct=74),
        1: cold,
    } == first.cards


def test_what_was_written_is_read():
    """To the byte of a card's memory in MiB; what was not available stays so."""
    recording = Recording(
        every_s=4.0,
        samples=(
            at(0),
            at(4, step=7, phase="save", loss=math.inf, step_s=0.1, data_wait=0.2, cards={5: GPU}),
            at(8, step=2**40, attempt=65535, cpu_cores=1.5, memory_bytes=5e9),
        ),
    )
    data = encode(recording, (0, 5))
    empty = dict.fromkeys((0, 5), CardSample())

    assert replace(
        recording,
        samples=tuple(replace(one, cards=empty | dict(one.cards)) for one in recording.samples),
    ) == decode(data)
    assert Layout(every_s=4.0, cards=(0, 5)) == layout(data)


def test_a_torn_row_and_rows_of_zeros_are_passed_over():
    """What a crash leaves of a file is read as far as it goes."""
    data = encode(Recording(samples=(at(0, step=1), at(1, step=2))), (0,))
    size = Layout(cards=(0,)).row_bytes
    torn = data + bytes(size) + row(at(3, step=4), (0,)) + row(at(4, step=5), (0,))[:-1]

    assert [1, 2, 4] == [one.step for one in decode(torn).samples]


def test_a_month_fits():
    """On eight cards a sample takes 124 bytes; a full file holds some 2,000 of them."""
    found = Layout(cards=tuple(range(8)))

    assert 124 == found.row_bytes
    assert found.header_bytes + found.most_rows * found.row_bytes <= telemetry_file.MOST_BYTES
    assert 2_000 < found.most_rows


numbers = st.none() | st.floats()
samples = st.builds(
    Sample,
    at_s=st.floats(),
    attempt=st.integers(0, 2**40),
    step=st.none() | st.integers(0, 2**80),
    phase=st.none() | st.sampled_from([*PHASES, "?"]),
    loss=numbers,
    step_s=numbers,
    data_wait=numbers,
    cpu_cores=numbers,
    memory_bytes=numbers,
    cards=st.dictionaries(
        st.integers(0, 9),
        st.builds(
            CardSample,
            **dict.fromkeys(
                ("utilization_pct", "temperature_c", "power_w", "memory_used_bytes"),
                st.none() | st.floats(allow_nan=False, allow_infinity=False),
            ),
        ),
    ),
)


@given(st.lists(samples, max_size=4), st.sets(st.integers(0, 9)), st.integers(0, 600), st.binary())
def test_any_samples_can_be_written_and_any_bytes_read(taken, cards, length, other):
    """Cut anywhere, or bytes of something else: samples or none, and never an error."""
    cards = sorted(cards)
    data = encode(Recording(samples=tuple(taken)), cards)
    whole = decode(data).samples

    assert len(whole) <= len(taken)
    assert repr(whole).startswith(repr(decode(data[:length]).samples)[:-1].rstrip(","))
    decode(other)
    decode(data[:18] + other)
    thinned(decode(data))
