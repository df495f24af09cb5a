"""What is recorded of a run."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.hang.observation import Observation, RankVitals
from gpuops.core.machine.device import Device
from gpuops.core.run import telemetry
from gpuops.core.run.telemetry import GpuSample, Recording, Sample, added, sample, thinned
from gpuops.heartbeat import Beat

MIB = 1024**2
GPU = GpuSample(utilization_pct=98, temperature_c=71, power_w=412, memory_used_bytes=20_000 * MIB)
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
        memory_bytes=memory_bytes,
    )


def taken(seen, before=None, gpus=()):
    return sample(at_s=NOW, attempt=1, step_s=0.25, seen=seen, before=before, gpus=gpus)


def at(second, **said):
    return Sample(at_s=NOW + second, attempt=said.pop("attempt", 1), **said)


def test_the_slowest_rank_is_the_jobs():
    """Its step, its loss; data is waited for as long as by all on average; memory is their sum."""
    seen = Observation(
        now_s=10.0,
        beats=(beat(0, 41, 0.3, 0.0), beat(1, 40, 0.4, 0.5)),
        vitals=(vitals(0, 5.0, 3 * MIB), vitals(1, None, 4 * MIB)),
    )
    found = taken(seen, gpus=[Device(index=3, power_w=100.5)])

    assert (40, 0.4, 0.25, 0.25) == (found.step, found.loss, found.data_wait, found.step_s)
    assert (7 * MIB, None) == (found.memory_bytes, found.cpu_cores)
    assert {3: GpuSample(power_w=100.5)} == found.gpus


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
    cold = GpuSample(utilization_pct=50, temperature_c=60, memory_used_bytes=9)
    samples = (
        at(0, step=1, loss=4.0, memory_bytes=9.0, gpus={0: GPU}),
        at(1, step=3, loss=2.0, memory_bytes=7.0, gpus={0: cold, 1: cold}),
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
    } == first.gpus


def test_a_phase_that_nobody_knows_is_none():
    """A script may call its phase what it likes; only those of ours are told apart."""
    seen = Observation(now_s=10.0, beats=(beat(0, 40, phase="lunch"),))

    assert taken(seen).phase is None


@given(st.integers(2, 12), st.integers(1, 400))
def test_a_recording_is_never_full_and_never_half_empty(most, seconds):
    """However long it lasts: evenly spaced from its beginning to now, and the newest is there."""
    recording = Recording()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "MOST_SAMPLES", most)
        for second in range(seconds):
            if second % recording.every_s == 0:
                recording = added(recording, at(second, step=second))
                newest = second
            assert len(recording.samples) <= most

    steps = [one.step for one in recording.samples]
    assert newest == steps[-1]
    assert steps[0] < recording.every_s
    assert all(b - a <= recording.every_s for a, b in pairwise(steps))
    assert recording.every_s == 1.0 or most // 2 <= len(steps)
