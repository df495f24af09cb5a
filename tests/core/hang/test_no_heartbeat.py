"""What is said of jobs that never beat, and what a person's own limit changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hang_scene import BUSY, QUIET, SCRIPT, Job

from gpuops.core.hang.detector import Blind, HangPolicy, Healthy, Hung, Suspect, Warming, assess
from gpuops.core.hang.observation import HangState, Observation, RankVitals, update_state

# --------------------------------------------------------------- jobs that never beat


@pytest.mark.parametrize(
    ("silence_s", "cpu", "kind"),
    [
        (9, QUIET, Healthy),
        (12, QUIET, Suspect),
        (1799, QUIET, Suspect),
        (1805, QUIET, Hung),
        (9, BUSY, Healthy),
        (12, BUSY, Suspect),
        (86_400, BUSY, Suspect),
        (86_400, (0.0, 1.0), Suspect),
    ],
)
def test_a_job_that_never_beats_is_idle_where_all_is_silent(silence_s, cpu, kind):
    """Busy CPUs prove nothing, and forbid to act."""
    job = Job(SCRIPT).logs(60)
    job.watch = replace(job.watch, most_s=600)
    for _ in range(24):
        job.world.passes(silence_s / 24, cpu)
        job.sees()

    assert kind is job.kind
    if kind is Suspect:
        assert ("NCCL" in job.assessment.why) == (cpu is not QUIET)


def test_a_log_is_late_by_its_own_pace():
    """One line a minute: not after two, but after ten."""
    job = Job(SCRIPT).logs(1200, 60)

    assert Healthy() == job.silent(590).assessment
    assert Suspect is job.silent(20).kind


def test_a_checkpoint_alone_is_a_pace():
    """A script that prints nothing, and saves every 100 s."""
    job = Job(SCRIPT)
    for _ in range(20):
        job.silent(100)
        job.world.checkpoint_bytes += 1
    assert Healthy() == job.sees().assessment

    assert Suspect is job.silent(1100).kind


def test_disk_traffic_is_work():
    """Ranks that read, without CPU or a word."""
    job = Job(SCRIPT).logs(60)
    read = 0
    for _ in range(8000):
        read += 10**6
        vitals = [replace(v, io_bytes=read) for v in job.world.observed().vitals]
        job.silent(0.5, QUIET, vitals=tuple(vitals))

    assert Suspect is job.kind


def test_a_log_is_a_sign_of_life_of_ranks_that_seem_idle():
    """GPUs may work while nobody waits for them busily."""
    job = Job(SCRIPT).logs(4000, 8, QUIET)

    assert Healthy() == job.assessment


def test_a_log_that_cannot_be_read_for_a_moment_is_no_news():
    """It goes on from what it was before."""
    job = Job(SCRIPT).logs(60)
    for _ in range(60):
        job.silent(0.5, QUIET, log_bytes=None)
        job.world.log_bytes += 60
        job.silent(0.5, QUIET)

    assert Healthy() == job.assessment


def test_a_rank_that_cannot_be_read_may_be_at_work():
    """Only where all are seen to be idle is the job."""
    job = Job(SCRIPT).logs(60)
    for _ in range(2000):
        own, other = job.world.observed().vitals
        job.silent(1, QUIET, vitals=(own, replace(other, cpu_s=None, io_bytes=None)))

    assert Suspect is job.kind


def test_a_script_that_begins_is_given_a_minute():
    """Ranks that wait for each other, before there is a word in the log."""
    job = Job(SCRIPT)

    assert Warming() == job.silent(58, QUIET).assessment
    assert Suspect is job.silent(4, QUIET).kind


def test_a_silent_beginning_is_no_usual_silence():
    """What precedes the first line says nothing about those between lines."""
    job = Job(SCRIPT).silent(500, QUIET).logs(60)

    assert Suspect is job.silent(13, QUIET).kind


@pytest.mark.parametrize("silence_s", [600, 1700])
def test_a_silent_warm_up_is_not_acted_upon(silence_s):
    """A download, or a compiler in another process."""
    assert Hung is not Job(SCRIPT).logs(2).silent(silence_s, QUIET).kind


def test_silence_is_known_to_last():
    """A job that waits for its data, five minutes at a time."""
    job = Job(SCRIPT).logs(60)
    for _ in range(3):
        job.silent(300, QUIET).logs(10)

    assert Healthy() == job.silent(500, QUIET).assessment
    assert Suspect is job.silent(110, QUIET).kind


def test_blind_where_nothing_can_be_read():
    """Neither beats nor logs nor processes: never healthy, never hung."""
    nothing = RankVitals(rank=0, pid=1, state=None, cpu_s=None, io_bytes=None)
    watch = HangState()
    for now_s in range(0, 4000, 2):
        watch = update_state(watch, Observation(now_s=now_s, vitals=(nothing,)))
        assert isinstance(assess(watch, SCRIPT), Blind)


def test_blind_where_there_is_nothing_at_all():
    """Before anything was seen."""
    assert isinstance(assess(HangState(), SCRIPT), Blind)


def test_blind_where_only_busy_cpus_can_be_seen():
    """After the time that it may take to start."""
    job = Job(SCRIPT)
    assert Warming() == job.silent(1700).assessment

    assert "NCCL" in job.silent(200).assessment.why
    assert Blind is job.silent(10_000).kind


def test_a_log_alone_never_says_hung():
    """What cannot be seen is not silent."""
    job = Job(SCRIPT).logs(60)
    job.watch = replace(job.watch, pulses={}, signs=None)

    assert Suspect is job.silent(4000, vitals=()).kind


# -------------------------------------------------------------------- a person's word


@pytest.mark.parametrize("phase", ["train", "evaluate", "save"])
def test_a_timeout_overrides_all_but_the_start_and_the_end(phase):
    """Suspect at half of it, so that there are stacks to look at."""
    job = Job(HangPolicy(hang_timeout_s=8)).trains(10).says(phase)

    assert Healthy() == job.silent(3.5).assessment
    assert Suspect is job.silent(1).kind
    assert Hung is job.silent(4).kind


def test_a_timeout_does_not_end_a_start():
    """The first step is yet to come."""
    job = Job(HangPolicy(hang_timeout_s=8)).says("start")

    assert Warming() == job.silent(500).assessment


def test_a_long_timeout_is_patience():
    """But not with a stopped rank: it does not continue by itself."""
    patient = HangPolicy(hang_timeout_s=7200, phased=True)

    assert Suspect is Job(patient).trains(10).silent(7100).kind
    assert Hung is Job(patient).trains(10).states(r1="T").silent(7100).kind
    assert Suspect is Job(HangPolicy(hang_timeout_s=7200)).logs(60).silent(7100, QUIET).kind


def test_a_timeout_decides_where_we_could_not():
    """A job that never beats, is busy and logs no more."""
    job = Job(HangPolicy(hang_timeout_s=60)).logs(60)

    assert Suspect is job.silent(40).kind
    assert Hung is job.silent(21).kind


@pytest.mark.parametrize("timeout_s", [None, 8])
def test_a_trainer_that_beats_is_warming_until_it_does(timeout_s):
    """However much it has logged before."""
    job = Job(HangPolicy(phased=True, hang_timeout_s=timeout_s)).logs(60)

    assert Warming() == job.silent(1700).assessment
