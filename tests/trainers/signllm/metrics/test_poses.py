"""Similarity, motion and smoothness of poses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainers.signllm.metrics.poses import (
    fill,
    length_error,
    motions,
    pose_similarity,
    resample,
    smoothness,
)

NAN = np.nan


def test_resampling_keeps_the_ends_and_goes_straight_between():
    """Three frames as five, and five as three."""
    poses = np.array([[0.0], [2.0], [8.0]])
    assert resample(poses, 5)[:, 0].tolist() == [0, 1, 2, 5, 8]
    assert resample(resample(poses, 5), 3)[:, 0].tolist() == [0, 2, 8]
    assert resample(poses[:1], 3)[:, 0].tolist() == [0, 0, 0]


def test_similarity_is_the_mean_cosine_and_never_below_zero():
    """One frame alike at another size, one at right angles, one opposite, one at 45 degrees."""
    found = np.array([[2.0, 0], [1, 0], [1, 0], [1, 1]])
    truth = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 0]])
    assert pose_similarity(found, truth) == pytest.approx((1 + math.sqrt(0.5)) / 4)


def test_similarity_leaves_out_what_was_not_seen():
    """Values, and whole frames; of nothing it is not a number."""
    found = np.array([[1.0, 50.0], [3.0, 3.0]])
    assert pose_similarity(found, np.array([[1.0, NAN], [NAN, NAN]])) == pytest.approx(1)
    assert math.isnan(pose_similarity(found, np.full((2, 2), NAN)))


def test_motion_is_over_the_values_that_the_truth_saw_move():
    """The second value, never seen twice on end, does not count on either side."""
    truth = np.array([[0.0, 1.0], [1.0, NAN], [0.0, 1.0]])
    found = np.array([[0.0, 0.0], [0.5, 99.0]])
    assert motions(found, truth) == (0.5, 1.0)
    assert motions(found[:1], truth) == (0.0, 1.0)
    assert motions(found, truth[:1]) == (0.0, 0.0)


def test_smoothness_of_standing_still_is_one():
    """1 / (1 + mean difference)."""
    assert smoothness(np.ones((5, 3))) == 1
    assert smoothness(np.ones((1, 3))) == 1
    assert smoothness(np.array([[0.0, 0], [1, 3], [0, 0]])) == pytest.approx(1 / 3)


def test_gaps_are_filled_from_before_and_after():
    """In between, at an end, and from the mean where nothing is known."""
    poses = np.array([[0.0, NAN, NAN], [NAN, 5.0, NAN], [4.0, NAN, NAN]])
    filled = fill(poses, np.array([9.0, 9.0, 7.0]))
    assert filled.tolist() == [[0, 5, 7], [2, 5, 7], [4, 5, 7]]


def test_length_error_is_a_share_of_the_truth():
    """Half too long and half too short are alike."""
    assert length_error(30, 20) == length_error(10, 20) == 0.5
