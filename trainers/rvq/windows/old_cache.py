"""Pickled window caches of the older guide: read as data, to be looked at (numpy, no torch).

A dictionary of `window_counts` and `cumulative_windows` by clip, `window_params` (frames, stride)
by window, and the parameters. Where windows begin was worked out in training: it cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.arrays import pickles
from trainers.engine.arrays.pickles import Array
from trainers.engine.cache import CacheError
from trainers.engine.errors import MALFORMED
from trainers.rvq.windows.cache_file import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MOST = 1 << 31  # of any number in it


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCache:
    """What such a cache says."""

    recipe: Recipe
    split: str
    data: str
    fps: float | None
    clips: int
    frames: NDArray[np.int64]
    """(W,) of each window."""


def read(path: Path) -> OldCache:
    """Read a pickled cache without running anything of it.

    Raises:
        CacheError: if it would run code, is damaged, or contradicts itself.
    """
    try:
        found = pickles.read(path)
        if not isinstance(found, dict):
            raise _refused(path, "it is no dictionary")
        return _from(found, path)
    except pickles.PickleError as error:
        raise _refused(path, str(error)) from None
    except KeyError as error:
        raise _refused(path, f"it has no {error.args[0]}") from None
    except MALFORMED:
        raise _refused(path, "its numbers are none") from None


def _from(found: dict[str, Any], path: Path) -> OldCache:
    counts = _whole_numbers(found["window_counts"], "window_counts", path)
    params = _whole_numbers(found["window_params"], "window_params", path, least=1)
    total = int(found["total_windows"])
    if params.ndim != 2 or params.shape[1] != 2 or counts.ndim != 1:
        raise _refused(path, "its window_params are no pairs")
    sums = {
        "total_windows": total,
        "window_params": len(params),
        "window_counts together": int(counts.sum()),
    }
    if "cumulative_windows" in found:
        cumulative = _whole_numbers(found["cumulative_windows"], "cumulative_windows", path)
        if not np.array_equal(cumulative, np.concatenate([[0], np.cumsum(counts)])):
            raise _refused(path, "its cumulative_windows are not the sums of its window_counts")
    if len(set(sums.values())) != 1:
        each = ", ".join(f"{count} {name}" for name, count in sums.items())
        raise _refused(path, f"its numbers of windows differ: {each}")
    size, stride = (int(found[name]) for name in ("window_size", "window_stride"))
    ratios = tuple(float(ratio) for ratio in found.get("multi_length_training") or (1.0,))
    if not (0 < size < MOST and 0 < stride < MOST and all(0 < r < MOST for r in ratios)):
        raise _refused(path, "its window_size, window_stride or ratios are no sizes")
    fps = found.get("pose_fps")
    return OldCache(
        recipe=Recipe(window_size=size, window_stride=stride, multi_length_training=ratios),
        split=_text(found.get("split")),
        data=_text(found.get("data_path")),
        fps=None if fps is None else float(fps),
        clips=len(counts),
        frames=params[:, 0],
    )


def _whole_numbers(given: Any, name: str, path: Path, least: int = 0) -> NDArray[np.int64]:
    array = given.values if isinstance(given, Array) else np.asarray(_table(given))
    if array.dtype.kind not in "iu" or not array.size:
        raise _refused(path, f"its {name} are no whole numbers")
    if array.min() < least or array.max() >= MOST:
        raise _refused(path, f"its {name} hold {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _table(given: Any) -> Any:
    """A list of numbers, or of pairs of them: lists in lists in lists may be shared without end."""
    if isinstance(given, list):
        for row in given:
            pair = row if isinstance(row, list) else (row,)
            if len(pair) > 2 or not all(isinstance(one, int) for one in pair):
                return None
        return given
    return None


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


def _refused(path: Path, why: str) -> CacheError:
    return CacheError(f"{path} cannot be read as a pickled cache: {why}")
