"""What is said of jobs that beat, as they move, pause and hang; the clock is a number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hang_scene import BUSY, PHASED, QUIET, Job

from gpuops.core.hang.detector import Blind, HangPolicy, Healthy, Hung, Suspect, Warming

# ----------------------------------------------------------------------------- training


def test_a_job_that_moves_is_healthy():
    """Once enough of its steps have been seen; before, it is warming up."""
    job = Job()

    assert Warming() == job.assessment
    assert Warming() == job.says("start").trains(1).assessment
    assert Healthy() == job.trains(3).assessment


@pytest.mark.parametrize(
    ("step_s", "silence_s", "kind"),
    [
        (0.1, 4.5, Healthy),
        (0.1, 5, Suspect),
        (0.1, 299.5, Suspect),
        (0.1, 300, Hung),
        (1, 9.5, Healthy),
        (1, 10, Suspect),
        (4, 39.5, Healthy),
        (4, 40, Suspect),
        (4, 299.5, Suspect),
        (10, 99.5, Healthy),
        (10, 100, Suspect),
        (10, 599.5, Suspect),
        (10, 600, Hung),
    ],
)
def test_a_silence_is_measured_in_steps(step_s, silence_s, kind):
    """Suspect after 5 s or 10 steps, hung after 300 s or 60 steps."""
    assert kind is Job().trains(40 * step_s, step_s).silent(silence_s).kind


@pytest.mark.parametrize(("silence_s", "kind"), [(1799.5, Suspect), (1800, Hung)])
def test_a_job_that_never_says_phases_may_hide_an_evaluation(silence_s, kind):
    """It is suspect as soon as any, and hung much later."""
    job = Job(HangPolicy()).trains(10)

    assert Suspect is job.silent(5).kind
    assert kind is job.silent(silence_s - 5).kind


@pytest.mark.parametrize(("silence_s", "kind"), [(5998, Suspect), (6002, Hung)])
def test_a_slow_job_may_hide_a_slow_evaluation(silence_s, kind):
    """600 steps, where that is more: one of 200 and a save of 100, twice over."""
    assert kind is Job(HangPolicy()).trains(400, 10).silent(silence_s).kind


@pytest.mark.parametrize(
    ("phases", "kind"),
    [((), Suspect), (("evaluate",), Suspect), (("save",), Suspect), (("evaluate", "save"), Hung)],
)
def test_a_job_that_has_said_both_phases_is_taken_at_its_word(phases, kind):
    """One that only says that it saves may evaluate inside its training."""
    job = Job(HangPolicy()).trains(10)
    for phase in phases:
        job.says(phase).silent(1).trains(5)

    assert kind is job.silent(400).kind


def test_steps_that_vary_reach_further():
    """Where each fifth step takes four times as long, 60 slow steps are 240 usual ones."""
    job = Job()
    for _ in range(8):
        job.trains(40, 10).trains(40, 40)

    assert Suspect is job.silent(2399).kind
    assert Hung is job.silent(2).kind


def test_what_ended_by_itself_may_take_three_times_as_long():
    """A stall of 250 s that ended makes one of 700 s no hang."""
    job = Job().trains(10).silent(250).trains(20)

    assert Suspect is job.silent(749).kind
    assert Hung is job.silent(3).kind


def test_an_assessment_says_who_where_how_long_and_why():
    """What a screen needs, and when it will be acted upon."""
    job = Job().trains(10).silent(7)
    assert job.assessment == Suspect(
        ranks=(0, 1),
        phase="train",
        idle_s=7.0,
        why="no beat for 7 s (a step takes 0.1 s); it counts as hung after 5 min",
    )

    job.silent(300)
    assert job.assessment == Hung(
        ranks=(0, 1),
        phase="train",
        idle_s=307.0,
        why="no beat for 5 min (a step takes 0.1 s); 5 min is the limit",
    )


def test_beats_without_steps_are_steps():
    """A script that only says that it is alive has a pace all the same."""
    job = Job()
    for _ in range(20):
        job.world.passes(10, BUSY)
        job.world.beat(None, "train")
        job.watch = replace(job.watch, most_s=60)
        job.sees()

    assert Healthy is job.silent(99).kind
    assert Suspect is job.silent(2).kind


def test_beats_within_a_step_are_signs_of_life_and_no_steps():
    """A step of 60 s with a beat a second is a step of 60 s."""
    job = Job()
    for _ in range(8):
        job.step += 1
        for _ in range(60):
            job.says("train").silent(1)

    assert Healthy is job.silent(590).kind
    assert Suspect is job.silent(20).kind


# ----------------------------------------------------------------------- other phases


@pytest.mark.parametrize(
    ("phase", "silence_s", "kind"),
    [
        ("evaluate", 599, Healthy),
        ("evaluate", 601, Suspect),
        ("evaluate", 3599, Suspect),
        ("evaluate", 3601, Hung),
        ("test", 3599, Suspect),  # a name of its own, from another language
        ("save", 599, Healthy),
        ("save", 601, Suspect),
        ("save", 1799, Suspect),
        ("save", 1801, Hung),
        ("done", 1799, Suspect),
        ("done", 1801, Hung),
    ],
)
def test_each_phase_has_a_time_of_its_own(phase, silence_s, kind):
    """While the ranks are busy in it."""
    assert kind is Job().trains(10).says(phase).silent(silence_s).kind


@pytest.mark.parametrize(
    ("phase", "silence_s", "kind"),
    [("evaluate", 11_999, Suspect), ("evaluate", 12_001, Hung), ("save", 6_001, Hung)],
)
def test_a_slow_job_has_slow_phases(phase, silence_s, kind):
    """400 steps to evaluate and 200 to save, where that is more."""
    job = Job().trains(600, 30).says(phase)
    job.watch = replace(job.watch, most_s=silence_s)
    job.world.passes(silence_s, BUSY)

    assert kind is job.sees().kind


def test_a_known_phase_is_suspect_at_twice_its_time():
    """The second evaluation is known to take 20 s."""
    job = Job().trains(10).says("evaluate").silent(20).trains(10).says("evaluate")

    assert Healthy is job.silent(40).kind
    assert Suspect is job.silent(2).kind


@pytest.mark.parametrize("phase", ["start", "evaluate", "save", "done"])
def test_where_nobody_works_in_a_phase_it_is_suspect_sooner(phase):
    """No CPU, no disk, no log for a minute."""
    job = Job().trains(10).says(phase)

    assert Suspect is not job.silent(58, QUIET).kind
    assert "no rank at work" in job.silent(3, QUIET).assessment.why


def test_one_rank_that_evaluates_excuses_all():
    """They wait for it in training."""
    job = Job(ranks=8).trains(10).says("evaluate", ranks=(0,)).silent(590)
    assert Healthy() == job.assessment

    assert "evaluate" == job.silent(20).assessment.phase
    assert Hung is job.silent(3000).kind


@pytest.mark.parametrize("begun", [True, False])
def test_a_warm_up_may_take_half_an_hour(begun):
    """Whether or not it says that it starts; suspect after ten minutes."""
    job = Job(HangPolicy())
    job = job.says("start") if begun else job.logs(10, 10)

    assert Warming() == job.silent(590).assessment
    assert Hung is not job.silent(1200).kind
    assert (Hung if begun else Blind) is job.silent(20).kind


def test_what_is_logged_while_starting_is_a_sign_of_life():
    """A data set that is prepared for hours, line by line."""
    job = Job().says("start").logs(7200, 300)

    assert Warming() == job.assessment


def test_the_second_step_may_compile_once_more():
    """Until the steps are known, the limit is that of starting."""
    job = Job().says("start").silent(20).trains(1, 1).trains(1, 1)

    assert Suspect is job.silent(1700).kind
    assert Warming is job.trains(1, 1).kind


def test_a_persons_timeout_does_not_count_once_a_job_is_done():
    """It may upload or clean up as long as without it."""
    job = Job(HangPolicy(phased=True, hang_timeout_s=60)).trains(10)
    assert Hung is job.silent(61).kind

    job = Job(job.policy).trains(10).says("done")
    assert Hung is not job.silent(1790).kind
    assert Hung is job.silent(20).kind


def test_a_job_that_has_made_a_step_is_not_starting():
    """Seen for the first time as it stands still: somebody takes over, or its steps were quick."""
    for step_before, kind in ((None, Warming), (57, Warming), (56, Hung)):
        job = Job(replace(PHASED, hang_timeout_s=4.0))
        job.world.beat(57, "train", step_before=step_before)

        assert kind is job.silent(5).kind


def test_a_checkpoint_that_grows_is_a_sign_of_life():
    """An hour of writing is no hang, an hour of not writing is."""
    job = Job().trains(10).says("save")
    for _ in range(36):
        job.world.checkpoint_bytes += 10**9
        job.silent(100)
    assert Healthy() == job.assessment

    assert Hung is job.silent(1801).kind
