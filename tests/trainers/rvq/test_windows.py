"""Windows over clips."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.rvq.windows import cut_windows

RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5)


def spans(windows):
    return list(zip(windows.sample, windows.start, windows.length, strict=True))


@pytest.mark.parametrize("frames", [1, 20, 31, 32, 33, 63, 64, 65, 96, 300, 950, 3000])
def test_no_window_twice_and_no_frame_left_out(frames):
    """Every ratio has its own grid; its windows lie within the clip and cover it to the end."""
    windows = cut_windows([frames], size=64, stride=20, ratios=RATIOS)

    assert len(set(spans(windows))) == len(windows)
    assert (windows.start + windows.length <= frames).all()
    assert (windows.length <= windows.padded).all()
    for padded in np.unique(windows.padded):
        own = windows.padded == padded
        covered = np.zeros(frames, dtype=bool)
        for start, length in zip(windows.start[own], windows.length[own], strict=True):
            covered[start : start + length] = True
        assert covered.all()


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
