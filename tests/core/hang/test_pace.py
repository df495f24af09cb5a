"""What is learnt of the time between two signs of life."""

from __future__ import annotations

import pytest

from gpuops.core.hang.pace import ENOUGH, WINDOW, Pace, follow_pace


def paced(*seconds, step=0):
    """A rank that has made steps of these lengths."""
    pace = Pace(since_s=0.0, mark=0.0, step=step)
    for length_s in seconds:
        at_s = pace.since_s + length_s
        pace = follow_pace(pace, since_s=at_s, mark=at_s, step=pace.step + 1)
    return pace


def test_before_two_beats_there_is_no_step():
    """Unknown is not zero."""
    pace = paced()

    assert (None, None, False, True) == (pace.median_s, pace.slow_s, pace.known, pace.starting)


def test_the_usual_step_is_the_median():
    """One that is 30 times as long changes nothing."""
    assert 2.0 == paced(2, 2, 60, 2, 2).median_s


def test_enough_steps_are_known_steps():
    """A few may be anything."""
    assert not paced(*[1.0] * (ENOUGH - 1)).known
    assert paced(*[1.0] * ENOUGH).known


@pytest.mark.parametrize(
    ("seconds", "slow_s"),
    [
        ([1.0, 1.0, 3.0, 1.0, 1.0], 3.0),  # the slowest of a few
        ([1.0, 1.0, 3.0, *[1.0] * 17], 1.0),  # one in twenty is no tail
        ([1.0, 1.0, 1.0, 1.0, 3.0] * 4, 3.0),  # one in five is
        ([1.0, 1.0, 1.0, 200.0, 1.0] * 4, 4.0),  # an evaluation, and no step
        ([*[1.0] * 20, 30.0, 30.0], 30.0),  # the job has changed
        ([*[1.0] * 20, 30.0], 1.0),  # or not
    ],
)
def test_slow_steps_are_the_tail(seconds, slow_s):
    """What every tenth step takes, within reason."""
    assert slow_s == paced(*seconds).slow_s


def test_old_steps_are_forgotten():
    """After a window of others."""
    pace = paced(*[9.0] * WINDOW, *[1.0] * WINDOW)

    assert (WINDOW, 1.0, 1.0) == (len(pace.recent), pace.median_s, max(pace.recent))


def test_steps_between_two_looks_share_the_time():
    """Ten steps within 5 s are steps of half a second."""
    pace = follow_pace(paced(), since_s=5.0, mark=5.0, step=10)

    assert (0.5,) == pace.recent


def test_an_evaluation_is_no_step():
    """Nor is the step that ends it; what it took is kept by its phase."""
    pace = paced(1, 1)
    pace = follow_pace(pace, since_s=2.0, mark=2.0, step=2, phase="evaluate")
    pace = follow_pace(pace, since_s=22.0, mark=22.0, step=3)

    assert (1.0, 1.0) == pace.recent
    assert {"train": 1.0, "evaluate": 20.0} == dict(pace.longest)
    assert 1.0 == pace.longest_s


def test_a_step_that_ends_in_an_evaluation_is_one():
    """Both beats come at once, and only the second is seen."""
    assert (7.0,) == follow_pace(paced(), since_s=7.0, mark=7.0, step=1, phase="evaluate").recent


def test_without_numbers_the_end_of_training_is_no_step():
    """It may come at any time."""
    pace = follow_pace(paced(step=None), since_s=1.0, mark=1.0)
    assert (1.0,) == pace.recent

    pace = follow_pace(pace, since_s=1.5, mark=1.5, phase="evaluate")
    assert (1.0,) == follow_pace(pace, since_s=9.0, mark=9.0).recent


def test_a_beat_after_an_evaluation_does_not_make_it_a_step():
    """Where a script says that it trains again, before it has made a step."""
    pace = paced(1, 1)
    for at_s, step, phase in [(2, 2, "evaluate"), (22, 2, "train"), (23, 3, "train")]:
        pace = follow_pace(pace, since_s=at_s, mark=at_s, step=step, phase=phase)

    assert (1.0, 1.0, 1.0) == pace.recent


def test_beats_within_a_step_do_not_shorten_it():
    """They are signs of life, from which silence is counted."""
    pace = paced(1)
    for at_s, step in [(3, 1), (6, 1), (9, 2)]:
        pace = follow_pace(pace, since_s=at_s, mark=at_s, step=step)

    assert (1.0, 8.0) == pace.recent
    assert 3.0 == pace.longest_s


def test_a_step_that_goes_back_teaches_nothing():
    """A loop that returned to a checkpoint by itself."""
    assert paced(1, 1).recent == follow_pace(paced(1, 1), since_s=9.0, mark=9.0, step=0).recent


def test_what_somebody_did_teaches_nothing():
    """A rank that was stopped for an hour."""
    pace = follow_pace(paced(1), since_s=3601.0, mark=1.0, step=2, learn=False)

    assert ((1.0,), 1.0) == (pace.recent, pace.longest_s)
    assert 3601.0 == pace.since_s


def test_steps_begin_after_the_start():
    """What precedes the first step is no step."""
    pace = Pace(since_s=0.0, mark=0.0, phase="start")
    pace = follow_pace(pace, since_s=1200.0, mark=1.0, step=1)
    assert (None, True) == (pace.median_s, pace.starting)

    pace = follow_pace(pace, since_s=1201.0, mark=2.0, step=2)
    assert (1.0, False, 1.0) == (pace.median_s, pace.starting, pace.longest_s)
