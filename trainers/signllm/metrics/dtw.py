"""Dynamic time warping as ProgressiveTransformers defines it: exact, for poses with unseen joints.

The cost of two frames is the L1 distance of their values. Joints that the truth did not see are
left out, and the rest is scaled up to all values. A path goes one frame on in either sequence or
in both; its costs are summed without weights, and divided by the frames of the truth. Source:
dtw.py and helpers.py of github.com/BenSaunders27/ProgressiveTransformersSLP.

Shapes: T frames that were found, R frames of the truth, V values of a frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating[Any]]


def dtw(found_TV: Values, truth_RV: Values) -> float:
    """Return the distance, a sum over the V values of a frame; NaN if the truth saw no joint.

    ``truth_RV`` has NaN where a joint was not seen; in ``found_TV`` NaN counts as 0.
    """
    cost_TR = frame_costs(found_TV, truth_RV)
    return path_cost(cost_TR) / len(truth_RV) if cost_TR.shape[1] else math.nan


def frame_costs(found_TV: Values, truth_RV: Values) -> NDArray[np.float64]:
    """Return the costs (T, R') against those frames of the truth in which a joint was seen.

    A frame in which nothing was seen counts as one that costs nothing.
    """
    seen_RV = np.isfinite(truth_RV)
    known = seen_RV.any(axis=1)
    seen_RV, found = seen_RV[known], np.nan_to_num(np.asarray(found_TV, dtype=np.float64))
    truth = np.where(seen_RV, truth_RV[known], 0.0)
    cost: NDArray[np.float64] = cdist(found, truth, "cityblock")
    if not seen_RV.all():
        # Against the zeros that stand for unseen values the distance is the found value's own.
        cost -= np.abs(found) @ (~seen_RV).T
        cost = np.maximum(cost, 0) * (seen_RV.shape[1] / seen_RV.sum(axis=1))
    return cost


def path_cost(cost_TR: NDArray[np.float64]) -> float:
    """Return the sum of costs along the cheapest path from the first pair of frames to the last.

    Row by row: total[j] = cost[j] + min(entered[j], total[j - 1]), where `entered` is the cheaper
    way in from the row above. With S the running sum of the costs of the row, total - S is a
    running minimum of entered[j] - S[j - 1].
    """
    cost = cost_TR if len(cost_TR) <= cost_TR.shape[1] else cost_TR.T
    sums = np.cumsum(cost, axis=1)
    before = sums - cost
    total = sums[0]
    for row in range(1, len(cost)):
        entered = total.copy()
        np.minimum(entered[1:], total[:-1], out=entered[1:])
        entered -= before[row]
        total = np.minimum.accumulate(entered)
        total += sums[row]
    return float(total[-1])
