"""How alike two sequences of poses are, and how much they move.

Shapes: T frames that were found, R frames of the truth, V values of a frame. Values that the truth
did not see are NaN and are left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating[Any]]


def resample(poses_TV: Values, count: int) -> Values:
    """Return ``count`` frames at even distances from the first to the last, interpolated."""
    if len(poses_TV) == count:
        return poses_TV
    places = np.linspace(0, len(poses_TV) - 1, count)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, len(poses_TV) - 1)
    share = (places - before)[:, None]
    return (1 - share) * poses_TV[before] + share * poses_TV[after]


def fill(poses_TV: Values, mean_V: Values) -> NDArray[np.float32]:
    """Return poses in which values that were not seen lie between those before and after.

    A value that was never seen is that of ``mean_V``.
    """
    filled = np.array(poses_TV, dtype=np.float32)
    frames = np.arange(len(filled))
    for column in np.flatnonzero(~np.isfinite(filled).all(axis=0)):
        seen = np.isfinite(filled[:, column])
        known = filled[seen, column]
        filled[:, column] = np.interp(frames, frames[seen], known) if len(known) else mean_V[column]
    return filled


def pose_similarity(found_TV: Values, truth_RV: Values) -> float:
    """Return the mean over frames of max(0, cosine) in 0..1, after resampling to R frames.

    Only frames in which the truth saw a joint count; NaN if there is none.
    """
    seen = np.isfinite(truth_RV)
    found = np.where(seen, resample(found_TV, len(truth_RV)), 0)
    truth = np.where(seen, truth_RV, 0)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1)
    cosine = (found * truth).sum(axis=1) / np.maximum(lengths, 1e-12)
    known = seen.any(axis=1)
    return float(np.maximum(cosine[known], 0).mean()) if known.any() else math.nan


def motion(poses_TV: Values) -> NDArray[np.float64]:
    """Return each value's mean |difference| from frame to frame (V,).

    NaN for a value that was never seen in two frames on end.
    """
    steps = np.abs(np.diff(poses_TV, axis=0))
    known = np.isfinite(steps)
    count = known.sum(axis=0)
    mean = np.where(known, steps, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def motions(found_TV: Values, truth_RV: Values) -> tuple[float, float]:
    """Return the mean motion of the found poses and of the truth, over values that it saw move."""
    wanted = motion(truth_RV)
    known = np.isfinite(wanted)
    if not known.any() or len(found_TV) < 2:
        return 0.0, float(wanted[known].sum() / max(1, known.sum()))
    return float(motion(found_TV[:, known]).mean()), float(wanted[known].mean())


def smoothness(found_TV: Values) -> float:
    """Return 1 / (1 + mean |difference|) in 0..1; poses that stand still have 1."""
    moved = motion(found_TV)
    known = np.isfinite(moved)
    return float(1 / (1 + moved[known].mean())) if known.any() else 1.0


def length_error(frames: int, truth: int) -> float:
    """Return |frames - truth| as a share of the truth."""
    return abs(frames - truth) / truth
