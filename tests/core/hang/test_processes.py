"""What states of processes, and time that was not watched, say about a hang."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hang_scene import BUSY, QUIET, Job

from gpuops.core.hang.detector import HangPolicy, Healthy, Hung, Suspect, Warming
from gpuops.core.hang.observation import HangState

# ------------------------------------------------------------------ states of processes


@pytest.mark.parametrize(
    ("phase", "silence_s", "kind"),
    [
        (None, 4.5, Warming),
        (None, 6, Suspect),
        (None, 21, Hung),
        ("train", 4.5, Healthy),
        ("train", 6, Suspect),
        ("train", 19.5, Suspect),
        ("train", 21, Hung),
        ("evaluate", 21, Hung),
        ("start", 21, Hung),
    ],
)
def test_a_stopped_rank_is_seen_in_any_phase(phase, silence_s, kind):
    """Its peers wait for it, with or without CPU: state T says it all."""
    job = Job()
    if phase is not None:
        job.trains(10).says(phase)
    assessment = job.states(r1="T").silent(silence_s).assessment

    assert kind is type(assessment)
    if kind in {Suspect, Hung}:
        assert (1,) == assessment.ranks
        assert assessment.why.startswith("rank 1 stopped (state T)")


@pytest.mark.parametrize("states", [{"r0": "T", "r1": "T"}, {"r0": "t"}, {"r0": "t", "r1": "T"}])
def test_a_job_that_somebody_holds_is_left_alone_for_long(states):
    """All ranks stopped, or a debugger at work: somebody means it."""
    job = Job().trains(10).states(**states)

    assert Suspect is job.silent(1790).kind
    assert Hung is job.silent(20).kind


@pytest.mark.parametrize(("timeout_s", "hung_s"), [(3600, 20), (10, 10)])
def test_patience_does_not_help_a_stopped_rank(timeout_s, hung_s):
    """It continues only if a person continues it; a shorter limit counts. All stopped is meant."""
    policy = HangPolicy(phased=True, hang_timeout_s=timeout_s)
    job = Job(policy).trains(10).states(r1="T").silent(hung_s - 1)
    assert Suspect is job.kind
    assert Hung is job.silent(2).kind

    job = Job(policy).trains(10).states(r0="T", r1="T").silent(timeout_s - 1)
    assert Suspect is job.kind
    assert Hung is job.silent(2).kind


def test_a_job_that_was_held_goes_on_as_if_nothing_had_been():
    """Neither is it hung as it wakes, nor is the break learnt as usual."""
    job = Job().trains(10).states(r0="T", r1="T").silent(1000).states(r0="S", r1="S")

    assert Healthy() == job.silent(2).assessment
    assert Hung is job.trains(10).silent(301).kind


@pytest.mark.parametrize(("silence_s", "kind"), [(3, Warming), (10, Suspect), (21, Hung)])
def test_a_rank_that_is_found_stopped_has_been_since_the_last_beat(silence_s, kind):
    """Who comes to a job reads in its beats for how long nobody has got on."""
    job = Job().trains(10).states(r1="T")
    job.world.passes(silence_s, BUSY)
    job.watch = HangState(most_s=math.inf, looked_s=job.world.beats[1].monotonic_s)

    assert kind is job.sees().kind


def test_a_rank_that_flickers_is_not_stopped():
    """A profiler that stops it for a moment, again and again."""
    job = Job().trains(10)
    for _ in range(20):
        job.states(r1="t").silent(0.5).states(r1="S").trains(1)

    assert Healthy() == job.assessment


def test_a_rank_stuck_in_the_kernel_is_suspect_and_no_more():
    """Where it neither works nor returns for a minute; it cannot be ended anyway."""
    job = Job().trains(10).says("save").states(r1="D")

    assert Healthy() == job.silent(59, (0.2, 0.0)).assessment
    assessment = job.silent(3, (0.2, 0.0)).assessment
    assert (Suspect, (1,)) == (type(assessment), assessment.ranks)
    assert "stuck in input/output (state D)" in assessment.why


def test_a_rank_that_writes_is_not_stuck():
    """State D again and again, but bytes go through."""
    job = Job().trains(10).says("save").states(r1="D")
    written = 0
    for _ in range(240):
        written += 10**6
        vitals = [replace(v, io_bytes=written) for v in job.world.observed().vitals]
        job.silent(0.5, QUIET, vitals=tuple(vitals))

    assert Healthy() == job.assessment


# ------------------------------------------------------------------------- who is asked


@pytest.mark.parametrize("state", ["Z", "X"])
def test_processes_that_ended_are_no_hang(state):
    """One, and torchrun will see to the others; or all."""
    job = Job().trains(10).states(r1=state)
    assert Healthy() == job.trains(400, ranks=(0,)).assessment

    assert Healthy() == job.states(r0=state).silent(4000).assessment


def test_a_process_that_is_not_listed_any_more_has_ended():
    """While others are listed."""
    job = Job().trains(10)
    one = tuple(v for v in job.world.observed().vitals if v.rank == 0)
    for _ in range(800):
        job.trains(0.5, ranks=(0,)).sees(vitals=one)

    assert Healthy() == job.assessment


def test_those_who_wait_for_an_ended_rank_still_hang():
    """A rank that left early, with exit code 0, leaves the others in their collective."""
    job = Job().trains(10).states(r1="X").silent(299)
    assert (Suspect, (0,)) == (job.kind, job.assessment.ranks)

    assert Hung is job.silent(2).kind


def test_a_rank_that_stays_behind_is_suspect():
    """Where the others go on without it, it is for a person to say whether that is meant."""
    job = Job().trains(10).trains(290, ranks=(0,))
    assert Healthy() == job.assessment

    assessment = job.trains(20, ranks=(0,)).assessment
    assert (Suspect, (1,)) == (type(assessment), assessment.ranks)


def test_ranks_that_only_said_that_they_start_delay_nothing():
    """A script that beats its steps on rank 0 alone."""
    job = Job().says("start").trains(100, ranks=(0,))
    assert Healthy() == job.assessment

    assert Suspect is job.silent(5.5).kind


def test_without_vitals_beats_are_enough():
    """Processes of another container, say."""
    job = Job()
    job.watch = HangState()
    for _ in range(40):
        job.world.passes(0.5, BUSY)
        job.step += 5
        job.world.beat(job.step, "train")
        job.sees(vitals=())
    assert Healthy() == job.assessment

    assert Suspect is job.silent(6, vitals=()).kind


# ---------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("pause_s", [3, 60, 3600, 10**6])
@pytest.mark.parametrize("phase", ["train", "evaluate", "start"])
def test_a_paused_machine_adds_two_seconds(pause_s, phase):
    """Whatever the time between two looks; and nothing is learnt of it."""
    job = Job().trains(10).says(phase).silent(2)
    before = job.watch.clock_s
    job.world.now_s += pause_s

    assert Healthy() == job.sees().assessment
    assert before + 2 == job.watch.clock_s
    assert Hung is job.trains(10).silent(301).kind


def test_silence_is_counted_from_the_beat_itself():
    """Not from the look that saw it."""
    job = Job().trains(10)
    job.world.passes(0.125, BUSY)
    job.world.beat(999, "train")
    job.world.passes(0.375, BUSY)

    assert 7.375 == job.sees().silent(7).assessment.idle_s


def test_a_beat_cannot_be_older_than_the_look_before_it():
    """Whatever its clock says: that of another boot, or of a program that has none."""
    job = Job().trains(10)
    job.says("train")
    for rank, beat in job.world.beats.items():
        job.world.beats[rank] = replace(beat, monotonic_s=1.0, step=999)

    assert Healthy() == job.sees().assessment


def test_a_clock_that_goes_back_adds_nothing():
    """Monotonic clocks do not; a record from another boot may."""
    job = Job().trains(10)
    before = job.watch.clock_s
    job.world.now_s -= 4000

    assert Healthy() == job.sees().assessment
    assert before == job.watch.clock_s


def test_a_supervisor_that_looks_seldom_still_knows_the_pace():
    """Both steps and silences are measured by the same clock."""
    job = Job()
    for _ in range(20):
        job.world.passes(10, BUSY)
        job.step += 1
        job.world.beat(job.step, "train")
        job.sees()
    assert Healthy() == job.assessment

    for _ in range(30):
        job.world.passes(10, BUSY)
        job.sees()
    assert Suspect is job.kind


def test_who_comes_to_a_running_job_begins_to_count_anew():
    """A beat of an hour ago says nothing about the hour."""
    job = Job().trains(10).silent(3600)
    job.watch = HangState()

    assert Warming() == job.sees().assessment
    assert Hung is job.silent(1801).kind
