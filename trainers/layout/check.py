"""layout's own check: `python -m trainers.layout.check FLAGS` tells what is on disk.

Posters are read, and their images are looked for; images are not read, and torch is not loaded.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from trainers.engine.check import Finding, checkpoint, main, refused
from trainers.engine.errors import TrainerError
from trainers.engine.pretrained import pretrained_folder
from trainers.engine.samples import format_few
from trainers.layout.config import CNN, ENCODER, PRESETS, Config
from trainers.layout.extra import MISSING
from trainers.layout.guide_config import translate
from trainers.layout.layouts.reading import SYNTHETIC, corpus_of, describe_changes, open_part
from trainers.layout.layouts.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainers.layout.layouts.corpus import Corpus
    from trainers.layout.layouts.reading import Part

SHOWN = 5


def check(config: Config) -> list[Finding]:
    """Look at the library that draws, the checkpoint, the vision model, and both splits."""
    findings = [*_library(), *checkpoint(config.run), *_encoder(config.visual.visual_encoder)]
    if config.dataset.data == SYNTHETIC:
        return findings
    try:
        parts = [open_part(config.dataset, split) for split in ("train", "val")]
        training, validation = (corpus_of(part, config.dataset) for part in parts)
    except TrainerError as error:
        return [*findings, refused("posters", error)]
    changed = [change for part in parts for change in _changes(part, config)]
    return [*findings, *compare(training, validation, config), *changed]


def compare(training: Corpus, validation: Corpus, config: Config) -> Iterator[Finding]:
    """Say what the posters of both splits mean for training and for its figures."""
    about = f"{len(training):,} to train on, {len(validation):,} to validate on"
    twice = sorted(
        {one.name for one in training.layouts} & {one.name for one in validation.layouts}
    )
    if twice:
        yield Finding(
            check="posters",
            severity="warning",
            summary=f"{about}; posters of one name in both splits: {format_few(twice, SHOWN)}",
            hint="if they are the same, the figures say how well they are remembered",
        )
    else:
        yield Finding(check="posters", severity="ok", summary=about)
    yield from _look(training, validation, config.dataset.look)


def _changes(part: Part, config: Config) -> Iterator[Finding]:
    for summary in describe_changes(part, config.dataset):
        yield Finding(check=f"posters of {part.split}", severity="warning", summary=summary)


def _look(training: Corpus, validation: Corpus, look: str) -> Iterator[Finding]:
    """Say whether both splits have what the model is told of elements."""
    try:
        vocabulary = vocabulary_of(training, look)
        if vocabulary.pictured and not validation.pictured:
            validation.images(0)  # raises what the training would
    except TrainerError as error:
        yield refused("look", error)
        return
    unknown = sorted(set(validation.categories) - set(training.categories))
    if vocabulary.categories and unknown:
        yield Finding(
            check="categories",
            severity="warning",
            summary=f"categories that are in validation posters alone: {format_few(unknown)}",
            hint="elements of these count as of no known category",
        )


def _library() -> Iterator[Finding]:
    if find_spec("diffusers") is None:
        yield refused("diffusers", TrainerError(*MISSING))


def _encoder(name: str) -> Iterator[Finding]:
    if name == CNN:
        return
    try:
        folder = pretrained_folder(name, *ENCODER)
    except TrainerError as error:
        yield refused("visual encoder", error)
    else:
        yield Finding(check="visual encoder", severity="ok", summary=f"{folder} is there")


if __name__ == "__main__":
    main(Config, check, name="layout", presets=PRESETS, translate=translate)
