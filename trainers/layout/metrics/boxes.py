"""How good the boxes of one layout are, alone and beside the true ones (numpy, no torch).

Formulas of LayoutGAN++ (Kikuchi et al. 2021) as github.com/CyberAgentAILab/layout-dm writes them
(helpers/metric.py). Boxes (N, 4) are left, top, width, height as shares of the canvas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Boxes = NDArray[np.floating[Any]]


def iou(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Return intersection over union of each box (N, 4) with each other one (M, 4): (N, M)."""
    inside = _intersections(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None] - inside
    return inside / np.maximum(union, 1e-12)


def matched_iou(boxes: Boxes, truth: Boxes, kinds: Sequence[Any]) -> float:
    """Return the mean IoU with the true boxes (N, 4), over elements.

    Elements of one kind cannot be told apart: among them the boxes are dealt out so that the sum is
    largest.
    """
    found = iou(boxes, truth)
    total = 0.0
    for kind in dict.fromkeys(kinds):
        rows = np.array([row for row, one in enumerate(kinds) if one == kind])
        part = found[np.ix_(rows, rows)]
        total += float(part[linear_sum_assignment(-part)].sum())
    return total / max(1, len(boxes))


def overlap(boxes: Boxes) -> float:
    """Return the sum over pairs i != j of area(i and j) / area(i), divided by the elements."""
    inside = _intersections(boxes, boxes) / np.maximum(_areas(boxes), 1e-12)[:, None]
    np.fill_diagonal(inside, 0)
    return float(inside.sum() / max(1, len(boxes)))


def alignment(boxes: Boxes) -> float:
    """Return 100 times the mean over elements of -log(1 - d).

    d is the smallest distance of an element's left, centre, right, top, middle or bottom from the
    same of any other element. 0 for a single element.
    """
    if len(boxes) < 2:
        return 0.0
    corner, size = boxes[:, :2], boxes[:, 2:]
    edges = np.concatenate([corner, corner + size / 2, corner + size], axis=1)
    apart = np.abs(edges[:, None] - edges[None])
    apart[np.eye(len(boxes), dtype=bool)] = 1
    nearest = np.clip(apart.min(axis=(1, 2)), 0, 1 - 1e-6)
    return float(100 * -np.log1p(-nearest).mean())


def doc_sim(boxes: Boxes, truth: Boxes, kinds: Sequence[Any]) -> float:
    """Return DocSim: how alike two layouts of the same elements are (Patil et al. 2020).

    The mean over elements of sqrt(smaller area) * 2^(-distance of centres - 2 * distance of sizes),
    by the best assignment within each kind.
    """
    centres = boxes[:, :2] + boxes[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    sizes = np.abs(boxes[:, None, 2:] - truth[None, :, 2:]).sum(axis=-1)
    smaller = np.minimum(_areas(boxes)[:, None], _areas(truth)[None])
    weights = np.sqrt(np.maximum(smaller, 0)) * np.exp2(-apart - 2 * sizes)
    total = 0.0
    for kind in dict.fromkeys(kinds):
        rows = np.array([row for row, one in enumerate(kinds) if one == kind])
        part = weights[np.ix_(rows, rows)]
        total += float(part[linear_sum_assignment(-part)].sum())
    return total / max(1, len(boxes))


def _intersections(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(
        boxes[:, None, :2] + boxes[:, None, 2:], others[None, :, :2] + others[None, :, 2:]
    )
    inside: NDArray[np.float64] = np.maximum(high - low, 0).prod(axis=-1).astype(np.float64)
    return inside


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = boxes[:, 2:].prod(axis=-1).astype(np.float64)
    return areas
