"""Curves: as many points as can be seen, none of the peaks lost; and their axes."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuops.core.report.curves import MOST_POINTS, Chart, Spread, curve, spread, thinned
from gpuops.core.report.scale import Scale, shared_axis, value_axis

numbers = st.floats() | st.integers(-(10**400), 10**400)


def chart(*values, floor=None, ceiling=None):
    line = curve("train", enumerate(values))
    return Chart(title="", unit="", over="steps", curves=(line,), floor=floor, ceiling=ceiling)


def test_a_curve_breaks_where_nothing_is_known():
    """At what was not said, at what is no finite number, and where steps are trained again."""
    points = [(1, 5.0), (2, None), (3, 4.0), (4, math.nan), (5, 3.0), (3, 3.5), (4, math.inf)]

    assert (
        ((1, 5.0),),
        ((3, 4.0),),
        ((5, 3.0),),
        ((3, 3.5),),
    ) == curve("train", points).pieces


def test_peaks_are_kept():
    """Of a million points a single high one, a low one, the first and the last are there."""
    values = [1.0] * 100_000
    values[0], values[-1], values[40_123], values[70_000] = 7.0, 8.0, 99.0, -5.0
    found = curve("train", enumerate(values))

    assert len(found.values) <= MOST_POINTS
    assert {7.0, 8.0, 99.0, -5.0} < set(found.values)
    (piece,) = found.pieces
    assert sorted(piece) == list(piece)


@given(st.lists(st.tuples(numbers, st.none() | numbers), max_size=60), st.integers(8, 40))
@example([(-18_014_398_509_481_069, 0.0)], 8)
def test_any_points_can_be_drawn(points, most):
    """However many gaps: about so many points, all of them where they were."""
    found = thinned(curve("train", points), most)

    assert len(found.values) <= 2 * most
    assert {point for piece in found.pieces for point in piece} <= set(points)
    for piece in found.pieces:
        drawn = Chart(title="", unit="", over="steps", curves=(found,))
        x, y = shared_axis([drawn]), value_axis(drawn)
        assert all(0 <= x.place(a) <= 1 and -0.001 <= y.place(b) <= 1.001 for a, b in piece)


def test_many_gaps_leave_one_curve():
    """More gaps than can be seen are none: what is drawn stays as small."""
    points = [(x, None if x % 2 else x) for x in range(10_000)]

    assert len(curve("train", points).values) <= MOST_POINTS


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ((1.0, 0.5, 0.1), False),
        ((100.0, 1.0, 0.01), True),
        ((100.0, 0.0, 0.01), False),
        ((), False),
    ],
)
def test_far_apart_values_are_shown_by_magnitude(values, logarithmic):
    """Where all of them are above zero, and the largest would hide the smallest."""
    assert logarithmic is chart(*values).logarithmic


def test_a_spread_is_the_least_the_median_the_most():
    """Of nothing there is none."""
    assert spread([3.0, 1.0, 9.0]) == Spread(least=1.0, median=3.0, most=9.0)
    assert spread([]) is None


def test_the_numbers_beside_an_axis_are_round():
    """Values, steps and times."""
    assert [0, 100, 200, 300] == Scale(low=0.0, high=310.0).ticks(4)
    assert [0.1, 1.0, 10.0, 100.0] == Scale(low=0.05, high=300.0, logarithmic=True).ticks()
    assert [0.0, 7200.0, 14400.0] == Scale(low=0.0, high=20_000.0).times(4)
    assert [0.0, 15.0, 30.0] == Scale(low=0.0, high=40.0).times(3)


def test_a_floor_and_a_ceiling_are_always_shown():
    """A share of 40 % is seen to be one; elsewhere there is some air."""
    shown = value_axis(chart(40.0, 41.0, floor=0.0, ceiling=100.0))
    free = value_axis(chart(40.0, 41.0))

    assert (0.0, 100.0) == (shown.low, shown.high)
    assert 39.0 < free.low < 40.0
    assert 41.0 < free.high < 42.0
    assert value_axis(chart(5.0)).low < 5.0 < value_axis(chart(5.0)).high
