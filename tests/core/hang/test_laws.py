"""What holds for assessments whatever is seen; and simulated jobs, healthy and hung."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import replace

import pytest
from hang_faults import FAULTS, prey, struck
from hang_jobs import LOOK_S, healthy, watched
from hang_scene import BUSY, PHASED, QUIET, Job
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.hang.detector import Blind, HangPolicy, Healthy, Hung, Suspect, Warming, assess
from gpuops.core.hang.observation import HangState, Observation, RankVitals, update_state
from gpuops.heartbeat import PHASES, Beat

# ------------------------------------------------------------------------- what holds


def vitals():
    """Whatever the kernel may say."""
    return st.builds(
        RankVitals,
        rank=st.integers(0, 3),
        pid=st.just(7),
        state=st.sampled_from([None, "R", "S", "D", "T", "t", "Z", "X", "I"]),
        cpu_s=st.none() | st.floats(0, 1e6),
        io_bytes=st.none() | st.integers(0, 2**60),
    )


def beats():
    """Whatever the ranks may say."""
    return st.builds(
        Beat,
        pid=st.just(7),
        rank=st.integers(0, 3),
        step=st.none() | st.integers(0, 100),
        total_steps=st.none(),
        loss=st.none(),
        data_wait=st.none(),
        monotonic_s=st.floats(0, 1e6),
        phase=st.sampled_from([*PHASES, "", "test"]),
    )


def seen():
    """Whatever can be seen."""
    return st.builds(
        Observation,
        now_s=st.floats(0, 1e6),
        beats=st.lists(beats(), max_size=4).map(tuple),
        vitals=st.lists(vitals(), max_size=4).map(tuple),
        log_bytes=st.none() | st.integers(0, 5),
        checkpoint_bytes=st.none() | st.integers(0, 5),
    )


@settings(max_examples=150)
@given(st.lists(seen(), max_size=9), st.booleans())
def test_nothing_is_hung_before_its_time(observations, phased):
    """Whatever is seen, in nine looks no more than 16 s pass: nobody is ended for it."""
    watch = HangState()
    for observation in observations:
        before = watch
        watch = update_state(watch, observation)
        assert before.clock_s <= watch.clock_s <= before.clock_s + watch.most_s
        assert all(pace.since_s <= watch.clock_s for pace in watch.beats.values())
        assert not isinstance(assess(watch, HangPolicy(phased=phased)), Hung)


@settings(max_examples=60)
@given(st.lists(seen(), max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_ranks_does_not_matter(observations, chance):
    """Assessments name the same ranks, however they were listed."""
    watches = [HangState(), HangState()]
    for observation in observations:
        one = replace(
            observation,
            beats=tuple({beat.rank: beat for beat in observation.beats}.values()),
            vitals=tuple({item.rank: item for item in observation.vitals}.values()),
        )
        other = replace(
            one,
            beats=tuple(chance.sample(one.beats, len(one.beats))),
            vitals=tuple(chance.sample(one.vitals, len(one.vitals))),
        )
        watches = [update_state(watches[0], one), update_state(watches[1], other)]
    first, second = (assess(watch, PHASED) for watch in watches)

    assert type(first) is type(second)
    assert set(getattr(first, "ranks", ())) == set(getattr(second, "ranks", ()))


@settings(max_examples=40)
@given(
    st.floats(0.05, 5),
    st.sampled_from([*PHASES, None]),
    st.sampled_from(["S", "T", "D"]),
    st.sampled_from([BUSY, QUIET, (0.0, 1.0)]),
    st.booleans(),
)
def test_a_silence_only_gets_worse(step_s, phase, state, cpu, phased):
    """Healthy, suspect, hung: while nothing happens, never the other way round."""
    job = Job(HangPolicy(phased=phased))
    if phase is not None:
        job.trains(20 * step_s, step_s).says(phase)
    job.states(r1=state)
    job.watch = replace(job.watch, most_s=100)
    rank = {Warming: 0, Healthy: 0, Blind: 0, Suspect: 1, Hung: 2}
    worst = 0
    for _ in range(120):
        job.world.passes(40, cpu)
        assert rank[job.sees().kind] >= worst
        worst = rank[job.kind]


# ------------------------------------------------------------------------- simulation


@pytest.mark.parametrize("scenario", healthy(), ids=lambda scenario: scenario.name)
def test_healthy_jobs_are_left_alone(scenario):
    """Some 20,000 steps of all kinds; benchmarks/hang_alarms.py runs a million."""
    assert [] == watched(scenario, round(20_000 * scenario.share), seed=1).hung


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("victim", [one for one in prey() if one.soon], ids=lambda one: one.name)
def test_hung_jobs_are_suspected_soon(victim, fault):
    """Within 10 s, or 20 steps where they are slower, of the last progress; and hung in the end."""
    chance = random.Random(f"{victim.name} {fault.name}")  # noqa: S311
    suspect_s, hung_s = struck(victim, fault, chance)

    assert suspect_s <= max(10, 20 * victim.job.step_s(1))
    assert hung_s > suspect_s


def test_looking_and_judging_cost_next_to_nothing():
    """8 ranks; the goal is 50 us, a slow machine is forgiven."""
    job = Job(ranks=8)
    times = []
    for _ in range(300):
        job.world.passes(LOOK_S, BUSY)
        job.step += 5
        job.world.beat(job.step, "train")
        observation = job.world.observed()
        begin = time.perf_counter()
        job.watch = update_state(job.watch, observation)
        assess(job.watch, PHASED)
        times.append(time.perf_counter() - begin)

    assert statistics.median(times) < 500e-6
