"""Layouts as the training loop wants them: states, what is known of elements, noise, batches.

Shapes: B layouts, N elements of the longest, 6 values of an element (see `layouts.layout`), F
features of an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.batches import item_rng, length_buckets, pinned
from trainers.engine.masked import StepLengths, pad, step_lengths
from trainers.layout.layouts.layout import LAYER, H, W, X, Y, to_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from numpy.typing import NDArray

    from trainers.layout.config import Config, Task
    from trainers.layout.layouts.corpus import Corpus

    class Features(Protocol):
        """The features (N, F) of each layout's images."""

        def __getitem__(self, row: int) -> NDArray[np.float32]: ...


GIVEN: dict[Task, tuple[int, ...]] = {
    "nothing": (),
    "size": (W, H),
    "position": (X, Y),
    "layer": (LAYER,),
}
"""The values of an element that are known beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """What is known of the elements of some layouts before they are placed."""

    mask: Tensor  # (B, N) whether there is an element
    category: Tensor  # (B, N) numbers from 1; 0 if it is not known
    features: Tensor | None  # (B, N, F) of their images
    given: Tensor  # (B, N, 6) whether a value is known
    known: Tensor  # (B, N, 6) the state; 0 where it is not known
    aspect: Tensor  # (B,) logarithm of the canvas's width / height

    def pin_memory(self) -> Elements:
        """Return them in memory that a GPU copies from in the background."""
        return pinned(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutBatch:
    """Layouts padded to one number of elements, and the noise of a training step."""

    elements: Elements
    state: Tensor  # (B, N, 6) 0 behind the last element
    noise: Tensor  # (B, N, 6)
    time: Tensor  # (B,) in 0..1 the timestep as a share of all
    lengths: StepLengths | None = None  # if layouts of any rank are padded

    def pin_memory(self) -> LayoutBatch:
        """Return the batch in memory that a GPU copies from in the background."""
        return pinned(self)


class LayoutData:
    """One split as batches: layouts by number, padded.

    ``categories`` are those that the model knows, and ``features[i]`` (N, F) those of the i-th
    layout's images; None if the model does not look at them.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: Config,
        categories: Sequence[str],
        features: Features | None,
    ) -> None:
        self.corpus = corpus
        self.config = config
        self.categories = tuple(categories)
        self.features = features
        self.elements = corpus.lengths
        self.padded = self.elements
        number = {name: place for place, name in enumerate(self.categories, start=1)}
        self._states = [to_state(one) for one in corpus.layouts]
        self._categories = [
            np.array([number.get(name, 0) for name in one.categories]) for one in corpus.layouts
        ]
        self._aspects = [math.log(one.canvas[0] / one.canvas[1]) for one in corpus.layouts]

    def bucket(self, global_batch: int) -> NDArray[np.int64]:
        """Choose the lengths (N,) to which batches of so many layouts are padded."""
        self.padded = length_buckets(self.elements, global_batch)
        return self.padded

    def load(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        together: NDArray[np.int64] | None = None,
    ) -> LayoutBatch:
        """Return layouts by number; each draws task, time and noise from a seed of its own.

        ``together`` are the layouts of the whole step.
        """
        states = [self._states[int(row)] for row in rows]
        count = max(map(len, states))
        tasks, times = [], np.empty(len(rows), dtype=np.float32)
        noise = np.zeros((len(rows), count, 6), dtype=np.float32)
        for row, seed in enumerate(seeds):
            rng = item_rng(seed)
            tasks.append(self.config.model.given[rng.integers(len(self.config.model.given))])
            times[row] = rng.random(dtype=np.float32)
            noise[row, : len(states[row])] = rng.standard_normal(states[row].shape, np.float32)
        state, _ = pad(states, count)
        return LayoutBatch(
            elements=self.known(rows, tasks),
            state=state,
            noise=torch.from_numpy(noise),
            time=torch.from_numpy(times),
            lengths=step_lengths(self.elements, self.padded, rows, together),
        )

    def kinds(self, row: int) -> list[Any]:
        """Return what tells a layout's elements apart: their image, or else their category."""
        layout = self.corpus.layouts[row]
        return list(range(len(layout))) if self.features is not None else list(layout.categories)

    def known(self, rows: NDArray[np.int64], tasks: Sequence[Task]) -> Elements:
        """Return what is known of the elements of some layouts, for each layout's task."""
        states = [self._states[int(row)] for row in rows]
        count = max(map(len, states))
        lengths = torch.tensor([len(state) for state in states])
        category = torch.zeros(len(rows), count, dtype=torch.long)
        given = torch.zeros(len(rows), count, 6, dtype=torch.bool)
        for place, (row, task) in enumerate(zip(rows, tasks, strict=True)):
            found = self._categories[int(row)]
            category[place, : len(found)] = torch.from_numpy(found)
            given[place, : len(found), list(GIVEN[task])] = True
        state, _ = pad(states, count)
        features = None
        if self.features is not None:
            features, _ = pad([np.asarray(self.features[int(row)]) for row in rows], count)
        return Elements(
            mask=torch.arange(count) < lengths[:, None],
            category=category,
            features=features,
            given=given,
            known=state * given,
            aspect=torch.tensor([self._aspects[int(row)] for row in rows], dtype=torch.float32),
        )
