"""How good a set of layouts is beside a set of true ones (numpy, no torch)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from trainers.layout.metrics.boxes import matched_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Boxes = NDArray[np.floating[Any]]

MOST = 200  # layouts that are compared with one another


def max_iou(
    found: Sequence[Boxes], truth: Sequence[Boxes], categories: Sequence[Sequence[str]]
) -> float:
    """Return the maximum IoU of LayoutGAN++ (Kikuchi et al. 2021): a mean over layouts.

    ``found[i]`` and ``truth[i]`` (N, 4) are boxes of the same N categories. Among the layouts with
    the same categories, each found one is dealt a true one so that the sum of ``matched_iou`` is
    largest. More than 200 such layouts are dealt out in parts of 200.
    """
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, names in enumerate(categories):
        alike[tuple(sorted(names))].append(row)
    total = 0.0
    for kinds, group in alike.items():
        for begin in range(0, len(group), MOST):
            rows = group[begin : begin + MOST]
            ours, true = (
                [_sorted(boxes[i], categories[i]) for i in rows] for boxes in (found, truth)
            )
            ious = np.array([[matched_iou(one, other, kinds) for other in true] for one in ours])
            total += float(ious[linear_sum_assignment(-ious)].sum())
    return total / max(1, len(found))


def _sorted(boxes: Boxes, names: Sequence[str]) -> Boxes:
    order = sorted(range(len(names)), key=names.__getitem__)
    return boxes[order]
