"""Statistics in one pass, and as a dictionary that gives them back."""

from __future__ import annotations

import json

import numpy as np

from trainers.engine.statistics import Moments, Statistics


def test_moments_in_parts_are_those_of_the_whole() -> None:
    """However rows are dealt out, mean and deviation are NumPy's own."""
    rows = np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32)
    moments = Moments()

    for part in np.split(rows, [1, 40, 333]):
        moments.add(part)

    assert moments.count == 500
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(moments.std, rows.std(axis=0, dtype=np.float64))


def test_constant_features_have_no_deviation() -> None:
    """Rounding must not give the root of a number below zero."""
    moments = Moments()
    moments.add(np.full((1000, 2), 0.1, dtype=np.float32))

    assert moments.std.max() < 1e-6


def test_a_dictionary_gives_the_statistics_back() -> None:
    """Through JSON, to the last bit."""
    parts = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    given = Statistics(mean=parts[0], std=parts[1], baseline=parts[2])

    again = json.loads(json.dumps(given.to_dict()))

    assert set(again) == {"mean", "std", "baseline"}
    for name, values in again.items():
        np.testing.assert_array_equal(np.float32(values), getattr(given, name))
