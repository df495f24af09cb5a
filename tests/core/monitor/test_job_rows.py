"""Step, speed and time left, from what the ranks say."""

from __future__ import annotations

import pytest

from gpuops.core.supervision.progress import WINDOW, Progress, observe
from gpuops.heartbeat import Beat


def beat(rank, step, at_s, **changes):
    """What a rank said at a time."""
    facts = {"total_steps": 100, "loss": 1.0, "data_wait": None, "phase": "train"}
    return Beat(**{"pid": 1, "rank": rank, "step": step, "monotonic_s": at_s, **facts, **changes})


def watched(*looks):
    """The progress after some looks, each a list of beats."""
    progress = Progress()
    for beats in looks:
        progress = observe(progress, beats, None)
    return progress


def test_nothing_is_known_before_the_first_beat():
    """No beat is no step: not step zero, and no speed."""
    progress = watched([])

    assert (None, None, None) == (progress.step, progress.steps_per_s, progress.eta_s)


def test_a_beat_without_a_step_is_no_step():
    """A rank that only says it is alive has no step."""
    assert watched([beat(0, None, 1.0, phase="start")]).step is None


def test_the_slowest_rank_is_the_jobs_step():
    """A job is where its last rank is; loss and phase are that rank's."""
    progress = watched([beat(0, 9, 1.0, loss=0.1), beat(1, 7, 1.0, loss=0.7, phase="save")])

    assert (7, 0.7, "save") == (progress.step, progress.loss, progress.phase)


def test_speed_needs_two_steps():
    """One look is no speed; two are."""
    assert watched([beat(0, 1, 10.0)]).steps_per_s is None
    assert 2.0 == watched([beat(0, 1, 10.0)], [beat(0, 5, 12.0)]).steps_per_s


def test_the_same_beat_seen_twice_is_one():
    """Looking more often than the job beats changes no figure."""
    looks = [[beat(0, 1, 10.0)], [beat(0, 5, 12.0)]]

    assert watched(*looks) == watched(looks[0], looks[0], looks[1], looks[1])


def test_time_left_is_the_steps_left_at_that_speed():
    """(total - step) / speed."""
    assert pytest.approx(45.0) == watched([beat(0, 2, 0.0)], [beat(0, 10, 4.0)]).eta_s


def test_time_left_is_never_negative():
    """A job past its announced end has none left."""
    assert 0 == watched([beat(0, 1, 0.0)], [beat(0, 120, 4.0)]).eta_s


def test_without_a_total_there_is_no_time_left():
    """A total that nobody said is not zero."""
    looks = [[beat(0, 1, 0.0, total_steps=None)], [beat(0, 5, 4.0, total_steps=None)]]

    assert watched(*looks).eta_s is None
    assert 1.0 == watched(*looks).steps_per_s


def test_speed_follows_the_last_looks():
    """A slow beginning is forgotten after a window of looks."""
    looks = [[beat(0, 1, 0.0)]] + [[beat(0, 2 + n, 1000.0 + n)] for n in range(WINDOW)]

    assert 1.0 == watched(*looks).steps_per_s


def test_figures_stay_until_there_are_new_ones():
    """Figures come less often than looks; the last ones stay on the screen."""
    first = observe(Progress(), [beat(0, 1, 0.0)], {"loss": 0.5})

    assert {"loss": 0.5} == observe(first, [beat(0, 2, 1.0)], None).metrics
    assert {"loss": 0.4} == observe(first, [], {"loss": 0.4}).metrics


def test_a_clock_that_stands_still_gives_no_speed():
    """Two steps at one moment are no division by zero."""
    assert watched([beat(0, 1, 5.0)], [beat(0, 2, 5.0)]).steps_per_s is None
