"""A checkpoint's model, and data in the form that this model takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trainers.engine import trained
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.statistics import Statistics
from trainers.signllm.config import Config
from trainers.signllm.data import SignData, Vocabulary
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.sentences.reading import open_corpus

if TYPE_CHECKING:
    from pathlib import Path

Trained: TypeAlias = trained.Trained[Config, SignModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a checkpoint of signllm holds beside its weights."""

    vocabulary: Vocabulary
    statistics: Statistics
    fps: float
    """Of the poses that it was trained on."""


def load(path: Path) -> Trained:
    """Load the checkpoint that ``path`` means: its own folder, or a run's best.

    If the run kept a moving average of the weights, that is loaded. A relative data set of the
    run's settings becomes the path where it lies, seen from the present working directory.

    Raises:
        TrainerError: it cannot be used, or is not of signllm.
    """
    found = trained.load(path, trainer="signllm", config=Config, build=_build)
    return trained.locate_data(found)


def attached(path: Path) -> Attached:
    """Read vocabulary and statistics of a checkpoint's folder.

    Raises:
        TrainerError: the checkpoint does not hold them.
    """
    names = ("vocabulary.json", "statistics.json", "data.json")
    words, statistics, data = (trained.read_json(path, name) for name in names)
    try:
        return Attached(
            vocabulary=Vocabulary(
                languages=tuple(map(str, words["languages"])),
                glosses=tuple(map(str, words["glosses"])),
            ),
            statistics=Statistics(
                **{
                    name: np.asarray(statistics[name], dtype=np.float32)
                    for name in ("mean", "std", "baseline")
                }
            ),
            fps=float(data["train"]["fps"]),
        )
    except MALFORMED as error:
        raise TrainerError(
            f"{', '.join(names)}: one of them, in {path}, cannot be used ({type(error).__name__})"
        ) from None


def _build(config: Config, path: Path) -> SignModel:
    found = attached(path)
    return SignModel(config, found.vocabulary, found.statistics)


def open_for(found: Trained, data: str | None, split: str | None) -> SignData:
    """Open a split of ``data`` (default: the data it was trained on) for the model.

    The default split is the one that the run was validated on.

    Raises:
        TrainerError: the data cannot be used, or has a language that the model does not know.
    """
    dataset = found.config.dataset
    if data is not None:
        dataset = replace(dataset, data=data, max_samples=None, val_split="auto")
    if split is not None and split != "train":
        dataset = replace(dataset, val_split=split)
    corpus = open_corpus(dataset, "train" if split == "train" else "val")
    with_it = attached(found.path)
    return SignData(
        corpus, found.config, with_it.vocabulary, with_it.statistics, tokenizer(found.config.text)
    )
