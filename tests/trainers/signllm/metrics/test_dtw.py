"""Dynamic time warping: hand-worked numbers, and a plain quadratic reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainers.signllm.metrics.dtw import dtw, path_cost


def plain(found, truth):
    """The definition, cell by cell; unseen values of the truth are left out of a frame's cost."""
    total = np.full((len(found) + 1, len(truth) + 1), np.inf)
    total[0, 0] = 0
    for i, one in enumerate(found, start=1):
        for j, other in enumerate(truth, start=1):
            seen = np.isfinite(other)
            cost = np.abs(one - other)[seen].sum() * len(other) / seen.sum()
            total[i, j] = cost + min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
    return total[-1, -1] / len(truth)


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_a_worked_example():
    """0 1 3 against 0 2 3 3: the path 0-0, 1-2, 3-3, 3-3 costs 1, of four frames of the truth."""
    assert dtw(column(0, 1, 3), column(0, 2, 3, 3)) == pytest.approx(1 / 4)


def test_a_frame_held_costs_nothing_and_one_too_many_does():
    """0 5 against 0 0 0 5 is free; 0 9 5 against 0 5 pays for its 9 where that is nearest to 5."""
    assert dtw(column(0, 5), column(0, 0, 0, 5)) == 0
    assert dtw(column(0, 9, 5), column(0, 5)) == pytest.approx(4 / 2)


def test_the_path_goes_around_what_is_dear():
    """Every way but one costs 100."""
    cost = np.array([[1.0, 1, 100, 100], [100, 100, 1, 100], [100, 100, 100, 1]])
    assert path_cost(cost) == 4
    assert path_cost(cost.T) == 4


def test_one_pose_costs_the_sum_over_the_truth():
    """So the mean pose scores the mean distance to it."""
    assert dtw(column(1.0), column(0, 2, 4)) == pytest.approx((1 + 1 + 3) / 3)


def test_unseen_values_are_left_out_and_the_rest_scaled_up():
    """One of three values unseen: differences of 1 and 2 count 3 * 3 / 2."""
    found = np.array([[1.0, 2.0, 77.0]])
    assert dtw(found, np.array([[0.0, 0.0, np.nan]])) == pytest.approx(4.5)


def test_a_truth_in_which_nothing_was_seen_has_no_distance():
    """Not a number, rather than a perfect one; a single such frame costs nothing."""
    found, truth = np.ones((4, 6)), np.full((3, 6), np.nan)
    assert math.isnan(dtw(found, truth))
    truth[0] = 0
    assert dtw(found, truth) == pytest.approx(4 * 6 / 3)


@pytest.mark.parametrize(("frames", "wanted"), [(1, 1), (1, 9), (9, 1), (17, 23), (23, 17)])
@pytest.mark.parametrize("unseen", [0.0, 0.3])
def test_it_is_the_plain_quadratic_one(frames, wanted, unseen):
    """For any shape, with and without unseen joints."""
    rng = np.random.default_rng(frames)
    found, truth = rng.normal(size=(frames, 12)), rng.normal(size=(wanted, 12))
    joints = rng.random((wanted, 4)) < unseen
    joints[:, 0] = False
    truth[np.repeat(joints, 3, axis=1)] = np.nan
    assert dtw(found, truth) == pytest.approx(plain(found, truth), rel=1e-12)


def test_it_is_zero_for_the_truth_itself():
    """Also if some of its joints were not seen."""
    truth = np.random.default_rng(0).normal(size=(40, 150)).astype(np.float32)
    truth[5:9, 3:30] = np.nan
    assert dtw(truth, truth) == pytest.approx(0, abs=1e-9)
