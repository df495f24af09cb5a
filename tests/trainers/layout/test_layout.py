"""Pixels to states and back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_layouts import layout

from trainers.layout.layouts.layout import from_state, ranks, to_state


@given(
    st.integers(1, 25),
    st.integers(0, 1000),
    st.tuples(st.integers(410, 4000), st.integers(410, 4000)),
)
@settings(max_examples=60)
def test_a_layout_survives_the_way_to_a_state_and_back(count, seed, canvas):
    """Whole pixels and the order of layers; confidence is that of what is there."""
    made = layout(count, seed, canvas)
    state = to_state(made)

    placed = from_state(state, canvas)

    assert np.abs(state).max() <= 1
    np.testing.assert_array_equal(placed.boxes, made.boxes)
    np.testing.assert_array_equal(placed.order, made.order)
    np.testing.assert_allclose(placed.confidence, 1)


@given(
    arrays(np.float32, (4, 6), elements=st.floats(width=32)),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
@settings(max_examples=150)
def test_whatever_a_model_says_lies_on_the_canvas(state, canvas):
    """Also infinite values and values that are no number."""
    placed = from_state(state, canvas)

    corner, size = placed.boxes[:, :2], placed.boxes[:, 2:]
    assert (corner >= 0).all()
    assert (size >= 1).all()
    assert (corner + size <= np.array(canvas)).all()
    assert sorted(placed.order) == [0, 1, 2, 3]
    assert ((placed.confidence >= 0) & (placed.confidence <= 1)).all()


def test_equal_layers_keep_their_order():
    """As the elements stand in the file."""
    assert ranks(np.array([7, 3, 7, -2])).tolist() == [2, 1, 3, 0]
