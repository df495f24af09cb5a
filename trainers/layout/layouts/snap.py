"""Edges and centres of elements that nearly align made to align (numpy, no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAR = 0.02  # of the canvas
PAIRS = ((0, 0), (2, 2), (0, 2), (2, 0), (1, 1))  # of lines: edges with edges, centres with centres


def snap(
    boxes: NDArray[np.int64], canvas: tuple[int, int], near: float = NEAR
) -> NDArray[np.int64]:
    """Move boxes (N, 4), in pixels, so that each aligns with a larger one that it nearly did.

    From the largest to the smallest, and along each axis: the nearest pair of edges, or of centres,
    within ``near`` of the canvas decides. Sizes stay, and no box leaves the canvas.
    """
    moved = boxes.astype(np.float64)
    order = np.argsort(-(boxes[:, 2] * boxes[:, 3]), kind="stable")
    for place, element in enumerate(order):
        larger = moved[order[:place]]
        for axis in (0, 1):
            own, theirs = (_lines(found, axis) for found in (moved[[element]], larger))
            steps = np.concatenate([theirs[:, line] - own[:, other] for line, other in PAIRS])
            begins = moved[element, axis] + steps
            inside = (begins >= 0) & (begins <= canvas[axis] - moved[element, 2 + axis])
            steps = steps[inside & (np.abs(steps) <= near * canvas[axis])]
            if steps.size:
                moved[element, axis] += steps[np.abs(steps).argmin()]
    found: NDArray[np.int64] = np.rint(moved).astype(np.int64)
    return found


def _lines(boxes: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Where boxes (N, 4) begin, have their middle, and end along an axis: (N, 3)."""
    begin, size = boxes[:, axis], boxes[:, 2 + axis]
    return np.stack([begin, begin + size / 2, begin + size], axis=1)
