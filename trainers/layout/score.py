"""How good the layouts of a model are: the same figures for any batch size and number of ranks.

Shapes: B layouts, N elements, 6 values of an element.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.batches import evaluation_batches, item_rng, item_seeds, to_device
from trainers.engine.metrics import Means, reduce_sums
from trainers.layout.layouts.layout import as_shares, from_state, to_state
from trainers.layout.metrics.baselines import box_shares
from trainers.layout.metrics.boxes import alignment, doc_sim, matched_iou, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.engine.distributed import World
    from trainers.layout.config import Task
    from trainers.layout.data import Elements, LayoutData
    from trainers.layout.diffusion import Diffusion
    from trainers.layout.layouts.layout import Layout
    from trainers.layout.losses import LayoutLoss
    from trainers.layout.model.model import LayoutModel

    States = NDArray[np.float32]

SEED = 0  # of the noise that layouts are drawn from, and of that of the loss
BATCH = 64
SUMS = (
    "posters", "miou", "doc_sim", "overlap", "alignment", "true_overlap", "true_alignment",
)  # fmt: skip
PARTS = (
    "loss", "reconstruction", "position", "layer", "confidence", "aesthetic", "overlap",
    "alignment",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Means over posters; see overlap and alignment beside those of the truth."""

    posters: int
    miou: float  # with the true boxes, 0..1
    doc_sim: float
    overlap: float
    alignment: float
    true_overlap: float
    true_alignment: float
    max_iou: float | None = None  # of all posters as a set; an evaluation alone has it

    @classmethod
    def from_sums(cls, sums: NDArray[np.float64]) -> Figures:
        """Make them from sums over posters: see ``measure``."""
        count = max(1.0, float(sums[0]))
        means = dict(zip(SUMS[1:], (sums[1:] / count).tolist(), strict=True))
        return cls(posters=int(sums[0]), **means)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that there are, for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Figures for each task that the model was trained for; parts of the loss if asked for."""

    loss: dict[str, float]
    tasks: dict[Task, Figures]

    @property
    def first(self) -> Figures:
        """The figures of the first task, by which checkpoints are compared."""
        return next(iter(self.tasks.values()))

    def summary(self) -> dict[str, float]:
        """Return the scalars that training reports."""
        figures = self.first.to_dict()
        loss = {k: v for k, v in self.loss.items() if k in ("loss", "reconstruction")}
        return {**loss, **{name: figures[name] for name in SUMS[1:5]}}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        tasks = {name: one.to_dict() for name, one in self.tasks.items()}
        return {"loss": self.loss, **self.first.to_dict(), "tasks": tasks}


def score(
    model: LayoutModel,
    data: LayoutData,
    diffusion: Diffusion,
    world: World,
    loss: LayoutLoss | None = None,
    *,
    tasks: Sequence[Task] | None = None,
    steps: int | None = None,
    keep: dict[tuple[Task, int], States] | None = None,
) -> Score:
    """Score a model in evaluation mode; every rank calls it and takes its share of the posters.

    With ``loss`` also its parts. ``tasks`` are what is known beforehand, one after the other;
    default: those that it was trained for. ``keep`` is filled with the states (N, 6) that this rank
    drew, by task and the number of the poster.
    """
    tasks = tuple(tasks or dict.fromkeys(data.config.model.given))
    figures = np.zeros((len(tasks), len(SUMS)))
    means = Means(PARTS, world)
    seeds = item_seeds(SEED, 0, len(data.corpus))
    for rows in evaluation_batches(data.elements, BATCH, world):
        if loss is not None:
            _add_loss(means, model, data, rows, seeds, loss, world)
        for number, task in enumerate(tasks):
            for row, state in zip(
                rows.tolist(), draw(model, data, rows, task, diffusion, steps=steps), strict=True
            ):
                figures[number] += measure(state, data.corpus.layouts[row], data.kinds(row))
                if keep is not None:
                    keep[task, row] = state
    reduced = reduce_sums({"figures": torch.from_numpy(figures).to(world.device)}, world)
    return Score(
        loss={} if loss is None else means.reduce(),
        tasks={
            task: Figures.from_sums(sums)
            for task, sums in zip(tasks, reduced["figures"].numpy(), strict=True)
        },
    )


def draw(
    model: LayoutModel,
    data: LayoutData,
    rows: NDArray[np.int64],
    task: Task,
    diffusion: Diffusion,
    *,
    steps: int | None = None,
    seed: int = SEED,
    strength: float | None = None,
) -> list[States]:
    """Draw the states (N, 6) of posters by number; each from a noise of its own.

    With ``strength`` the layouts that are there are refined: see ``Diffusion.draw``.
    """
    device = next(model.parameters()).device
    elements: Elements = to_device(data.known(rows, [task] * len(rows)), device)
    count = elements.mask.shape[1]
    noise = np.zeros((len(rows), count, 6), dtype=np.float32)
    start = np.zeros_like(noise)
    seeds = item_seeds(seed, 1, len(data.corpus))[rows]
    layouts = [data.corpus.layouts[int(row)] for row in rows]
    for place, (layout, own) in enumerate(zip(layouts, seeds, strict=True)):
        noise[place, : len(layout)] = item_rng(own).standard_normal((len(layout), 6), np.float32)
        start[place, : len(layout)] = to_state(layout)
    refined = {} if strength is None else {"start": torch.from_numpy(start).to(device)}
    found = diffusion.draw(
        model,
        elements,
        torch.from_numpy(noise).to(device),
        steps=steps,
        strength=1.0 if strength is None else strength,
        **refined,
    )
    states = found.float().cpu().numpy()
    return [state[: len(layout)] for state, layout in zip(states, layouts, strict=True)]


def measure(state: States, layout: Layout, kinds: Sequence[Any]) -> NDArray[np.float64]:
    """Return what a poster adds to the sums: a state (N, 6) against the true layout."""
    return measure_boxes(placed_shares(state, layout), layout, kinds)


def placed_shares(state: States, layout: Layout) -> NDArray[np.float64]:
    """Return the boxes (N, 4) that a state means: whole pixels, as shares of the canvas."""
    return as_shares(from_state(state, layout.canvas).boxes, layout.canvas)


def measure_boxes(
    boxes: NDArray[np.float64], layout: Layout, kinds: Sequence[Any]
) -> NDArray[np.float64]:
    """Return the same of boxes (N, 4) as shares of the canvas: left, top, width, height."""
    truth = box_shares(layout)
    return np.array(
        [
            1.0,
            matched_iou(boxes, truth, kinds),
            doc_sim(boxes, truth, kinds),
            overlap(boxes),
            alignment(boxes),
            overlap(truth),
            alignment(truth),
        ]
    )


def _add_loss(
    means: Means,
    model: LayoutModel,
    data: LayoutData,
    rows: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    loss: LayoutLoss,
    world: World,
) -> None:
    """Add the parts of the loss; posters of a batch have one number of elements."""
    batch = to_device(data.load(rows, seeds[rows]), world.device)
    with torch.no_grad():
        found: dict[str, Tensor] = loss.step(model, batch)
    weight = len(rows) * batch.state.shape[1]
    for name, part in found.items():
        means.add_sum(name, part.double() * weight, weight)
