"""A layout: which elements lie where on a canvas, in pixels, and the same as a model's state.

Shapes: N elements of a layout. A state has 6 values an element, all in -1..1: the centre (x, y),
width and height as shares of the canvas, the layer from back to front, and confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES = ("x", "y", "w", "h", "layer", "confidence")
X, Y, W, H, LAYER, CONFIDENCE = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The elements of one poster."""

    name: str
    canvas: tuple[int, int]  # width, height in pixels
    boxes: NDArray[np.float64]  # (N, 4) left, top, width, height in pixels
    order: NDArray[np.int64]  # (N,) the layer of each, 0 at the back
    ids: tuple[str, ...]
    categories: tuple[str, ...]  # "" if it is not known

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a model puts the elements of one poster."""

    boxes: NDArray[np.int64]  # (N, 4) left, top, width, height in whole pixels, on the canvas
    order: NDArray[np.int64]  # (N,)
    confidence: NDArray[np.float64]  # (N,) in 0..1


def as_shares(boxes: NDArray[Any], canvas: tuple[int, int]) -> NDArray[np.float64]:
    """Return boxes (N, 4) in pixels as shares of the canvas."""
    shares: NDArray[np.float64] = boxes / np.array([*canvas, *canvas])
    return shares


def to_state(layout: Layout) -> NDArray[np.float32]:
    """Return the state (N, 6); every element that is there has confidence 1."""
    width, height = layout.canvas
    left, top, w, h = layout.boxes.T
    last = max(1, len(layout) - 1)
    shares = (
        (left + w / 2) / width,
        (top + h / 2) / height,
        w / width,
        h / height,
        ranks(layout.order) / last,
        np.ones(len(layout)),
    )
    return (2 * np.stack(shares, axis=1) - 1).astype(np.float32)


def from_state(state: NDArray[np.floating[Any]], canvas: tuple[int, int]) -> Placed:
    """Return the elements of a state (N, 6) in whole pixels; none leaves the canvas.

    A value that is not finite counts as the middle of its range.
    """
    shares = np.clip(np.nan_to_num(state.astype(np.float64), nan=0.0) + 1, 0, 2) / 2
    area = np.array(canvas)
    size = np.clip(np.rint(shares[:, W : H + 1] * area), 1, area)
    corner = np.rint(shares[:, X : Y + 1] * area - size / 2)
    corner = np.clip(corner, 0, area - size)
    return Placed(
        boxes=np.concatenate([corner, size], axis=1).astype(np.int64),
        order=ranks(shares[:, LAYER]),
        confidence=shares[:, CONFIDENCE],
    )


def ranks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each of N values in their order, from 0; equal ones keep theirs."""
    places = np.empty(len(values), dtype=np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(len(values))
    return places
