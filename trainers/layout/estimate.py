"""A GPU's memory that training needs: `python -m trainers.layout.estimate FLAGS`, JSON on stdout.

FLAGS are those of training, and `--ranks N`, `--device cuda|cpu`, `--room-bytes N`. Nothing is
trained, and the data set need not be on this machine: see `data_shapes`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainers.engine.config.config import resolve
from trainers.engine.errors import run_main
from trainers.engine.memory.rehearsal import Question, StepSpec, answer, parse_question
from trainers.layout.config import PRESETS, Config
from trainers.layout.data import Elements, LayoutBatch
from trainers.layout.guide_config import translate
from trainers.layout.layouts.reading import SYNTHETIC, open_corpus
from trainers.layout.layouts.vocabulary import Vocabulary, vocabulary_of
from trainers.layout.losses import LayoutLoss
from trainers.layout.model.model import LayoutModel
from trainers.layout.noise import Noise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The facts of a data set that memory depends on."""

    elements: int  # of the fullest poster
    vocabulary: Vocabulary
    assumed: str = ""


def data_shapes(config: Config) -> Shapes:
    """Read the shapes of the data set; if it is not here, assume those that need the most.

    Raises:
        TrainerError: the data set is here, and cannot be trained on.
    """
    data = config.dataset.data
    if data != SYNTHETIC and not Path(data).is_dir():
        most = config.dataset.max_elements
        return Shapes(
            elements=most,
            vocabulary=Vocabulary(categories=(), pictured=config.dataset.look != "categories"),
            assumed=f"there is no data set {data} here: posters of {most} elements with images "
            "are assumed",
        )
    corpus = open_corpus(config.dataset, "train")
    return Shapes(
        elements=int(corpus.lengths.max()), vocabulary=vocabulary_of(corpus, config.dataset.look)
    )


def estimate(config: Config, asked: Question, shapes: Shapes | None = None) -> dict[str, Any]:
    """Return what batches of the configured size, and of others, need."""
    shapes = shapes or data_shapes(config)
    passes = config.loop.accumulation(asked.ranks)
    size = config.loop.batch_size
    if config.loop.global_batch is not None:
        size = -(-config.loop.global_batch // (passes * asked.ranks))
    return answer(
        asked,
        rehearsal(config, shapes),
        loop=replace(config.loop, global_batch=None, accumulate=passes),
        optim=config.optim,
        size=size,
        setting="batch_size",
        batch=f"{size:,} posters of {shapes.elements} elements",
        assumed=shapes.assumed,
    )


def rehearsal(config: Config, shapes: Shapes) -> Callable[[int], StepSpec]:
    """Return what builds a step for so many posters, all as full as the fullest."""
    return lambda size: _play(config, shapes, size)


class _AnyNoise(Noise):
    """Noise of which only the shapes matter."""

    def kept(self, time_B: Tensor) -> Tensor:
        return time_B


def _play(config: Config, shapes: Shapes, size: int) -> StepSpec:
    """Build what `train` builds."""
    model = LayoutModel(config, shapes.vocabulary)
    loss = LayoutLoss(config.loss, _AnyNoise(config.diffusion))
    features = None if model.visual is None else model.visual.features

    def batch() -> LayoutBatch:
        count = shapes.elements
        each = torch.zeros(size, count, 6)
        return LayoutBatch(
            elements=Elements(
                mask=torch.ones(size, count, dtype=torch.bool),
                category=torch.zeros(size, count, dtype=torch.long),
                features=None if features is None else torch.zeros(size, count, features),
                given=each.bool(),
                known=each,
                aspect=torch.zeros(size),
            ),
            state=torch.zeros_like(each),
            noise=torch.zeros_like(each),
            time=torch.zeros(size),
        )

    return StepSpec(model=model, losses=loss.step, batches=[batch])


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    asked, flags = parse_question(argv)
    config = resolve(Config, flags, name="layout", presets=PRESETS, translate=translate)
    sys.stdout.write(json.dumps(estimate(config, asked)) + "\n")


if __name__ == "__main__":
    run_main(main)
