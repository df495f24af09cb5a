"""Cut clips into windows: every ratio its own full grid, the tail covered, no window twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


COLUMNS = ("sample", "start", "length", "padded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """W windows over a list of clips, as flat arrays (W,)."""

    sample: NDArray[np.int32]  # index of the clip
    start: NDArray[np.int32]
    length: NDArray[np.int32]  # frames that are there
    padded: NDArray[np.int32]  # frames of the window: more than `length` if the clip is shorter

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.sample)

    def equals(self, other: Windows) -> bool:
        """Whether these are the same windows in the same order."""
        return all(
            np.array_equal(getattr(self, column), getattr(other, column)) for column in COLUMNS
        )

    def different(self) -> int:
        """Return how many differ in clip, start or length."""
        order = np.lexsort((self.length, self.start, self.sample))
        news = [np.diff(column[order]) != 0 for column in (self.sample, self.start, self.length)]
        return 1 + int(np.logical_or.reduce(news).sum()) if len(order) else 0


def window_sizes(size: int, stride: int, ratios: Sequence[float]) -> dict[int, int]:
    """Frames of the windows at each ratio, and frames between the starts of two; by size."""
    # A ratio may round a tiny window to nothing.
    return dict(sorted({max(1, int(size * r)): max(1, int(stride * r)) for r in ratios}.items()))


def cut_windows(
    frames: ArrayLike, *, size: int, stride: int, ratios: Sequence[float] = (1.0,)
) -> Windows:
    """Cut clips of `frames` (S,) frames each into windows, ratio by ratio, clip by clip.

    A ratio r gives windows of int(size * r) frames, int(stride * r) apart, and one more at the
    clip's end if the grid leaves frames over. A clip shorter than a window gives one window,
    padded, at the smallest ratio that holds it.
    """
    lengths = np.asarray(frames, dtype=np.int32)
    clips = np.arange(len(lengths), dtype=np.int32)
    parts: list[tuple[NDArray[np.int32], ...]] = []
    shorter = 0
    longest = int(lengths.max(initial=0))
    for cut, step in window_sizes(size, stride, ratios).items():
        step = min(step, longest + 1)  # noqa: PLW2901 - a larger one does the same
        last = lengths - cut
        full = last // step + 1
        count = np.where(last >= 0, full + (last % step > 0), 0)
        count[(last < 0) & (lengths > shorter)] = 1
        sample = np.repeat(clips, count)
        before = np.cumsum(count, dtype=np.int32) - count
        place = np.arange(len(sample), dtype=np.int32) - np.repeat(before, count)
        start = np.minimum(place * step, np.repeat(np.maximum(last, 0), count))
        length = np.repeat(np.minimum(lengths, cut), count)
        parts.append((sample, start, length, np.full_like(start, cut)))
        shorter = cut
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Windows(**dict(zip(COLUMNS, columns, strict=True)))
