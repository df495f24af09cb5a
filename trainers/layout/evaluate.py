"""Score a checkpoint on a split: `python -m trainers.layout.evaluate --checkpoint RUN [--data D]`.

Prints tables (or JSON) and writes evaluation.json into the run's folder. Beside the model's layouts
stand the true ones, the nearest training layout, mean and random boxes, and what the model does
with the images of other elements.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine import distributed
from trainers.engine.batches import item_rng
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.tables import quiet_table
from trainers.engine.verbs import run_evaluation
from trainers.layout.data import GIVEN, LayoutData
from trainers.layout.diffusion import Diffusion
from trainers.layout.layouts.layout import W
from trainers.layout.losses import LayoutLoss
from trainers.layout.metrics.baselines import Baselines, box_shares
from trainers.layout.metrics.sets import max_iou
from trainers.layout.score import SEED, Figures, Score, measure_boxes, placed_shares, score
from trainers.layout.trained import corpus_of, data_for, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from trainers.engine.distributed import World
    from trainers.layout.config import Task
    from trainers.layout.layouts.corpus import Corpus
    from trainers.layout.layouts.layout import Layout
    from trainers.layout.model.model import LayoutModel
    from trainers.layout.trained import Trained

    Answer = Callable[[Layout], NDArray[np.float64]]

GENERATED, SHUFFLED = "generated", "images of other elements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A score, what it is beside, and what was scored."""

    checkpoint: Path
    step: int
    data: str
    split: str
    score: Score
    beside: dict[Task, dict[str, Figures]]  # of other answers, by task

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds."""
        beside = {
            task: {name: one.to_dict() for name, one in found.items()}
            for task, found in self.beside.items()
        }
        return {
            "checkpoint": str(self.checkpoint),
            "step": self.step,
            "data": self.data,
            "split": self.split,
            "summary": self.score.summary(),
            **self.score.to_dict(),
            "beside": next(iter(beside.values())),
            "beside_by_task": beside,
        }


def evaluate(path: Path, data: str | None = None, split: str | None = None) -> Evaluation:
    """Score the checkpoint that `path` means, on its own data or on another data set.

    Raises:
        TrainerError: the checkpoint or the data cannot be used.
    """
    found = load(path)
    diffusion = Diffusion(found.config.diffusion)
    corpus = corpus_of(found, data, split)
    made = data_for(found, corpus)
    with distributed.world() as world:
        model = found.model.to(world.device)
        loss = LayoutLoss(found.config.loss, diffusion)
        judged = _score(model, made, diffusion, world, loss)
        training = _training(found, data)
        beside = {task: _beside(training, made, task) for task in judged.tasks}
        if made.features is not None:
            shuffled = _shuffled(made)
            for task, figures in _score(model, shuffled, diffusion, world).tasks.items():
                beside[task][SHUFFLED] = figures
    return Evaluation(
        checkpoint=found.path,
        step=found.step,
        data=corpus.source,
        split=corpus.split,
        score=judged,
        beside=beside,
    )


def _score(
    model: LayoutModel,
    data: LayoutData,
    diffusion: Diffusion,
    world: World,
    loss: LayoutLoss | None = None,
) -> Score:
    """Score a model, and what it placed as a set: that only if no other rank has a part of it."""
    drawn: dict[tuple[Task, int], NDArray[np.float32]] = {}
    found = score(model, data, diffusion, world, loss, keep=drawn)
    if not world.is_alone:
        return found
    tasks = {}
    for task, figures in found.tasks.items():
        layouts = enumerate(data.corpus.layouts)
        boxes = [placed_shares(drawn[task, row], layout) for row, layout in layouts]
        tasks[task] = replace(figures, max_iou=_max_iou(boxes, data.corpus))
    return replace(found, tasks=tasks)


def _training(found: Trained, data: str | None) -> Baselines | None:
    """What the training posters say of others; None if they are gone and other data is scored."""
    try:
        return Baselines(corpus_of(found, None, "train"))
    except TrainerError as error:
        if data is None:
            raise
        print(f"note: nothing from training posters stands beside: {error}", file=sys.stderr)
        return None


def _beside(training: Baselines | None, data: LayoutData, task: Task) -> dict[str, Figures]:
    """What the truth and answers without a model get."""
    corpus, sized, rng = data.corpus, W in GIVEN[task], item_rng(np.uint64(SEED))
    answers: dict[str, Answer] = {"truth": box_shares}
    if training is not None:
        answers |= {
            "nearest training poster": partial(training.nearest, sized=sized),
            "mean box of the category": partial(training.mean, sized=sized),
            "random place" if sized else "random box of the category": partial(
                training.random, rng=rng, sized=sized
            ),
        }
    found = {}
    for name, answer in answers.items():
        boxes = [answer(layout) for layout in corpus.layouts]
        sums = [
            measure_boxes(own, layout, data.kinds(row))
            for row, (own, layout) in enumerate(zip(boxes, corpus.layouts, strict=True))
        ]
        figures = Figures.from_sums(np.sum(sums, axis=0))
        found[name] = replace(figures, max_iou=_max_iou(boxes, corpus))
    return found


def _max_iou(boxes: Sequence[NDArray[np.float64]], corpus: Corpus) -> float:
    truth = [box_shares(layout) for layout in corpus.layouts]
    return max_iou(boxes, truth, [layout.categories for layout in corpus.layouts])


def _shuffled(data: LayoutData) -> LayoutData:
    """Return the same posters, whose elements have one another's images."""

    class Turned:
        def __getitem__(self, row: int) -> NDArray[np.float32]:
            assert data.features is not None  # noqa: S101 - the caller asked
            return np.roll(data.features[row], 1, axis=0)

    return LayoutData(data.corpus, data.config, data.categories, Turned())


def _tables(found: Evaluation, console: Console) -> None:
    corpus = f"{found.data}, split {found.split}, {found.score.first.posters:,} posters"
    console.print(f"{found.checkpoint}, step {found.step:,}: {corpus}")
    for task, figures in found.score.tasks.items():
        known = "nothing known beforehand" if task == "nothing" else f"{task} known beforehand"
        table = quiet_table(known, "mIoU", "maxIoU", "DocSim", "overlap", "alignment")
        for name, one in {GENERATED: figures, **found.beside[task]}.items():
            values = (one.miou, one.max_iou, one.doc_sim, one.overlap, one.alignment)
            table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
        console.print(table)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    return run_evaluation(argv, trainer="layout", evaluate=evaluate, tables=_tables)


if __name__ == "__main__":
    sys.exit(run_main(main))
