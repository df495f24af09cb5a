"""Windows over clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.rvq.config import MOST_FRAMES
from trainers.rvq.windows.windows import cut_windows, window_sizes

RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5)


def spans(windows):
    return list(zip(windows.sample, windows.start, windows.length, strict=True))


def check(frames, size, stride, ratios):
    """Every ratio has its own grid; its windows lie within the clip and cover it to the end."""
    windows = cut_windows([frames], size=size, stride=stride, ratios=ratios)

    assert windows.different() == len(windows) == len(set(spans(windows)))
    assert (windows.start >= 0).all()
    assert (windows.start + windows.length <= frames).all()
    assert (windows.length <= windows.padded).all()
    sizes = window_sizes(size, stride, ratios)
    assert set(windows.padded) <= set(sizes)
    for padded, step in sizes.items():
        own = windows.padded == padded
        if not own.any():
            assert frames < padded  # it went to a window that holds it with less padding
            continue
        starts = windows.start[own]
        # A window that is longer than its stride leaves no frame out; a shorter one skips as asked.
        assert starts[0] == 0
        assert (np.diff(starts) <= step).all()
        assert starts[-1] + windows.length[own][-1] == frames
        assert (windows.length[own] == min(padded, frames)).all()


@pytest.mark.parametrize("ratios", [RATIOS, *((ratio,) for ratio in RATIOS)])
def test_no_window_twice_and_the_tail_is_covered(ratios):
    """Of every length from 1 to 3,000 frames, at every ratio and all together."""
    lengths = np.arange(1, 3001)
    windows = cut_windows(lengths, size=64, stride=20, ratios=ratios)

    assert windows.different() == len(windows) == len(set(spans(windows)))
    for padded in window_sizes(64, 20, ratios):
        own = windows.padded == padded
        ends = np.zeros(len(lengths), int)
        np.maximum.at(ends, windows.sample[own], (windows.start + windows.length)[own])
        assert (ends[lengths >= padded] == lengths[lengths >= padded]).all()
    for frames in [*range(1, 100), 300, 950, 3000]:
        check(frames, 64, 20, ratios)


@given(
    frames=st.integers(20, 3000),
    size=st.integers(1, 300),
    stride=st.one_of(st.integers(1, 120), st.integers(1, MOST_FRAMES)),
    ratios=st.lists(st.floats(0.05, 3.0), min_size=1, max_size=6),
)
@settings(max_examples=100)
def test_whatever_is_asked_for(frames, size, stride, ratios):
    """The same for any size, stride and ratios."""
    check(frames, size, stride, ratios)


def test_windows_of_several_clips_are_those_of_each():
    """A clip's windows do not depend on what else there is."""
    lengths = [*range(20, 3001, 149), 20, 64]
    together = cut_windows(lengths, size=64, stride=20, ratios=RATIOS)
    for clip, frames in enumerate(lengths):
        alone = cut_windows([frames], size=64, stride=20, ratios=RATIOS)
        own = together.sample == clip
        assert together.start[own].tolist() == alone.start.tolist()
        assert together.padded[own].tolist() == alone.padded.tolist()


def test_each_ratio_has_its_full_grid():
    """A clip of 950 frames gives (950 - cut) // stride + 1 windows a ratio, and one for a tail."""
    windows = cut_windows([950], size=64, stride=20, ratios=RATIOS)
    for cut, stride in ((32, 10), (48, 15), (64, 20), (80, 25), (96, 30)):
        starts = windows.start[windows.padded == cut]
        grid = np.arange(0, 950 - cut + 1, stride)
        assert set(grid) <= set(starts)
        assert starts.max() == 950 - cut


def test_a_short_clip_is_one_padded_window():
    """It goes to the smallest window that holds it."""
    windows = cut_windows([40, 64], size=64, stride=20, ratios=RATIOS)
    short = windows.sample == 0
    at_48 = windows.padded[short] == 48
    assert windows.length[short][at_48].tolist() == [40]
    assert (windows.padded[short] <= 48).all()
    assert (windows.padded[windows.sample == 1] <= 64).all()


def test_the_order_of_ratios_does_not_matter():
    """Nor does one that is given twice."""
    one = cut_windows([200, 50], size=64, stride=20, ratios=(0.5, 1.0))
    other = cut_windows([200, 50], size=64, stride=20, ratios=(1.0, 0.5, 1.0))
    assert spans(one) == spans(other)
