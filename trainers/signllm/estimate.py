"""A GPU's memory that training needs: `python -m trainers.signllm.estimate FLAGS`, JSON on stdout.

FLAGS are those of training, and `--ranks N`, `--device cuda|cpu`, `--room-bytes N`. Nothing is
trained, and the data set need not be on this machine: see `data_shapes`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainers.engine.config.config import resolve
from trainers.engine.errors import run_main
from trainers.engine.memory.rehearsal import Question, StepSpec, answer, parse_question
from trainers.engine.statistics import Statistics
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.data import Prompts, SignBatch, Vocabulary
from trainers.signllm.guide_config import translate
from trainers.signllm.losses import SignLoss
from trainers.signllm.model.model import SignModel
from trainers.signllm.sentences.reading import SYNTHETIC, open_corpus
from trainers.signllm.skeleton import COUNT, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from trainers.signllm.config import DatasetConfig

ASSUMED_LANGUAGES, ASSUMED_GLOSSES = 8, 10_000  # of the public SignLLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The facts of a data set that memory depends on."""

    frames: int  # of the longest sentence
    text_bytes: int  # of the longest text
    languages: int
    glosses: int
    assumed: str = ""


def data_shapes(config: DatasetConfig) -> Shapes:
    """Read the shapes of the data set; if it is not here, assume those that need the most.

    Raises:
        TrainerError: the data set is here, and cannot be trained on.
    """
    if config.data != SYNTHETIC and not Path(config.data).is_dir():
        return Shapes(
            frames=config.max_frames,
            text_bytes=sys.maxsize,
            languages=len(config.languages) or ASSUMED_LANGUAGES,
            glosses=ASSUMED_GLOSSES,
            assumed=f"there is no data set {config.data} here: sentences of {config.max_frames} "
            f"frames, {ASSUMED_LANGUAGES} languages and {ASSUMED_GLOSSES:,} glosses are assumed",
        )
    corpus = open_corpus(config, "train")
    return Shapes(
        frames=int(corpus.lengths.max()),
        text_bytes=max(len(one.text.encode()) for one in corpus.sentences),
        languages=len(corpus.languages),
        glosses=len(corpus.glosses),
    )


def estimate(config: Config, asked: Question, shapes: Shapes | None = None) -> dict[str, Any]:
    """Return what batches of the configured size, and of others, need."""
    shapes = shapes or data_shapes(config.dataset)
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
        batch=f"{size:,} sentences of {shapes.frames} frames and {_tokens(config, shapes)} tokens",
        assumed=shapes.assumed,
    )


def rehearsal(config: Config, shapes: Shapes) -> Callable[[int], StepSpec]:
    """Return what builds a step for so many sentences, all as long as the longest."""
    return lambda size: _play(config, shapes, size)


def _tokens(config: Config, shapes: Shapes) -> int:
    # A token of another encoder is a byte at least.
    return min(shapes.text_bytes, config.text.max_length)


def _play(config: Config, shapes: Shapes, size: int) -> StepSpec:
    """Build what `train` builds."""
    flat = np.zeros(VALUES, dtype=np.float32)
    vocabulary = Vocabulary(
        languages=tuple(map(str, range(shapes.languages))),
        glosses=tuple(map(str, range(shapes.glosses))),
    )
    model = SignModel(config, vocabulary, Statistics(mean=flat, std=flat + 1, baseline=flat))
    loss = SignLoss(config.loss, model.mean, model.std)

    def losses(model: nn.Module, batch: SignBatch) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = loss(model(batch), batch)
        return parts

    def batch() -> SignBatch:
        tokens, frames, slots = _tokens(config, shapes), shapes.frames, config.model.gloss_slots
        glossed = config.model.mode == "prompt2langgloss"
        guided = config.model.decoding == "autoregressive"
        return SignBatch(
            prompts=Prompts(
                tokens=torch.zeros(size, tokens, dtype=torch.long),
                text_mask=torch.ones(size, tokens, dtype=torch.bool),
                language=torch.zeros(size, dtype=torch.long),
                languages=tuple(row % shapes.languages for row in range(size)),
            ),
            gloss=torch.zeros(size, slots, dtype=torch.long),
            poses=torch.zeros(size, frames, VALUES),
            seen=torch.ones(size, frames, COUNT, dtype=torch.bool),
            frames=torch.full((size,), frames),
            gumbel=torch.zeros(size, slots, shapes.glosses + 1) if glossed else None,
            noise=torch.zeros(size, frames, VALUES) if guided else None,
        )

    return StepSpec(model=model, losses=losses, batches=[batch])


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    asked, flags = parse_question(argv)
    config = resolve(Config, flags, name="signllm", presets=PRESETS, translate=translate)
    sys.stdout.write(json.dumps(estimate(config, asked)) + "\n")


if __name__ == "__main__":
    run_main(main)
