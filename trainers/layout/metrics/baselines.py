"""Answers that need no training, to see a model's figures beside (numpy, no torch).

Each gives boxes (N, 4) for a layout: left, top, width, height as shares of the canvas. With
``sized`` the true sizes are known, and kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from trainers.layout.layouts.layout import as_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.layout.layouts.corpus import Corpus
    from trainers.layout.layouts.layout import Layout

    Boxes: TypeAlias = NDArray[np.float64]

CANDIDATES = 20
MISFIT = 10.0  # cost of an element of another category, in sizes of the canvas


def box_shares(layout: Layout) -> Boxes:
    """Return the true boxes (N, 4) as shares of the canvas."""
    return as_shares(layout.boxes, layout.canvas)


class Baselines:
    """What the layouts of a training split say of others."""

    def __init__(self, training: Corpus) -> None:
        self._boxes = [box_shares(layout) for layout in training.layouts]
        self._categories = [layout.categories for layout in training.layouts]
        self._counts = [Counter(found) for found in self._categories]
        by_category: dict[str, list[Any]] = defaultdict(list)
        for boxes, categories in zip(self._boxes, self._categories, strict=True):
            for box, category in zip(boxes, categories, strict=True):
                by_category[category].append(box)
        self._all = {name: np.array(boxes) for name, boxes in by_category.items()}
        self._mean = {name: boxes.mean(axis=0) for name, boxes in self._all.items()}
        self._everywhere = np.concatenate(self._boxes).mean(axis=0)

    def mean(self, layout: Layout, *, sized: bool) -> Boxes:
        """The mean box of each element's category."""
        found = np.array([self._mean.get(name, self._everywhere) for name in layout.categories])
        return with_sizes(found, layout) if sized else found

    def random(self, layout: Layout, rng: np.random.Generator, *, sized: bool) -> Boxes:
        """The box of any training element of the category; with sizes, any place on the canvas."""
        truth = box_shares(layout)
        if sized:
            corner = rng.random((len(layout), 2)) * (1 - truth[:, 2:]).clip(0)
            return np.concatenate([corner, truth[:, 2:]], axis=1)
        found = [self._all.get(name, self._everywhere[None]) for name in layout.categories]
        return np.array([boxes[rng.integers(len(boxes))] for boxes in found])

    def nearest(self, layout: Layout, *, sized: bool) -> Boxes:
        """The boxes of the training layout with the nearest categories, then sizes if known.

        Elements take the places of those that are most like them; the rest those of ``mean``.
        """
        wanted, truth = Counter(layout.categories), box_shares(layout)
        apart = np.array([_difference(wanted, counts) for counts in self._counts])
        candidates = np.argsort(apart, kind="stable")[: CANDIDATES if sized else 1]
        costs = []
        for number in candidates:
            cost = MISFIT * np.array(
                [[name != one for one in self._categories[number]] for name in layout.categories],
                dtype=float,
            )
            if sized:
                sizes = truth[:, None, 2:] - self._boxes[number][None, :, 2:]
                cost += np.abs(sizes).sum(axis=-1)
            rows, columns = linear_sum_assignment(cost)
            lacking = len(layout) - len(rows)
            costs.append((cost[rows, columns].sum() + MISFIT * lacking, number, rows, columns))
        _, number, rows, columns = min(costs, key=lambda one: (one[0], one[1]))
        found = self.mean(layout, sized=False)
        found[rows] = self._boxes[number][columns]
        return with_sizes(found, layout) if sized else found


def with_sizes(boxes: Boxes, layout: Layout) -> Boxes:
    """Give boxes the true sizes, around the same centres, on the canvas."""
    sizes = box_shares(layout)[:, 2:]
    corner = (boxes[:, :2] + boxes[:, 2:] / 2 - sizes / 2).clip(0, (1 - sizes).clip(0))
    return np.concatenate([corner, sizes], axis=1)


def _difference(one: Counter[str], other: Counter[str]) -> int:
    return (one - other).total() + (other - one).total()
