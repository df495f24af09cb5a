"""A checkpoint's model, and data in the form that this model takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from trainers.engine import trained
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.layout.config import Config
from trainers.layout.data import LayoutData
from trainers.layout.features import LazyFeatures
from trainers.layout.layouts.reading import SYNTHETIC, open_corpus
from trainers.layout.layouts.vocabulary import Vocabulary
from trainers.layout.model.model import LayoutModel

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.layout.layouts.corpus import Corpus

Trained: TypeAlias = trained.Trained[Config, LayoutModel]


def load(path: Path) -> Trained:
    """Load the checkpoint that ``path`` means: its own folder, or a run's best.

    If the run kept a moving average of the weights, that is loaded. A relative data set of the
    run's settings becomes the path where it lies, seen from the present working directory.

    Raises:
        TrainerError: it cannot be used, or is not of layout.
    """
    found = trained.load(path, trainer="layout", config=Config, build=_build)
    dataset = found.config.dataset
    if dataset.data != SYNTHETIC:
        dataset = replace(dataset, data=str(found.locate(dataset.data)))
    return replace(found, config=replace(found.config, dataset=dataset))


def vocabulary(path: Path) -> Vocabulary:
    """Read what the model of a checkpoint is told of elements.

    Raises:
        TrainerError: the checkpoint does not hold it.
    """
    held = trained.read_json(path, "vocabulary.json")
    try:
        return Vocabulary(
            categories=tuple(map(str, held["categories"])), pictured=bool(held["pictured"])
        )
    except MALFORMED as error:
        raise TrainerError(
            f"vocabulary.json in {path} cannot be used ({type(error).__name__})"
        ) from None


def _build(config: Config, path: Path) -> LayoutModel:
    return LayoutModel(config, vocabulary(path))


def corpus_of(found: Trained, data: str | None, split: str | None) -> Corpus:
    """Open a split of ``data`` (default: the data it was trained on).

    The default split is the one that the run was validated on.

    Raises:
        TrainerError: the data cannot be used.
    """
    dataset = found.config.dataset
    if data is not None:
        dataset = replace(dataset, data=data, max_samples=None)
    return open_corpus(dataset, split or "val")


def data_for(found: Trained, corpus: Corpus) -> LayoutData:
    """Return a corpus in the form that the model takes; features are computed as they are needed.

    Raises:
        TrainerError: the model looks at images, and the elements have none.
    """
    known = vocabulary(found.path)
    features = None
    if found.model.visual is not None:
        if not corpus.pictured:
            raise TrainerError(
                f"elements of {corpus.source} have no images, and the model looks at images alone"
                if not known.categories
                else f"elements of {corpus.source} have no images, which the model looks at",
                "give --data a folder of posters with images",
            )
        features = LazyFeatures(found.model.visual, corpus)
    return LayoutData(corpus, found.config, known.categories, features)
