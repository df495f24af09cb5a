"""Features of all images of a corpus: computed once, and read from a file in the run's folder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gpuops import heartbeat
from trainers.engine.checkpoint import files
from trainers.engine.checkpoint.checkpoint import WEIGHTS
from trainers.engine.distributed import wait_for_first
from trainers.engine.errors import TrainerError
from trainers.engine.feature_cache import Encoding, cached_features, checksum
from trainers.engine.files import whole_file
from trainers.layout.model.visual import Pretrained, SmallCnn, shrink, train_small_cnn

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs
    from trainers.layout.config import Config
    from trainers.layout.data import Features
    from trainers.layout.layouts.corpus import Corpus, Image
    from trainers.layout.model.model import LayoutModel

log = logging.getLogger("trainers")

PREFIX = "visual."
MOST_IMAGES = 4096  # that the small network is trained on


def learn_to_see(
    model: LayoutModel, corpus: Corpus, config: Config, outputs: Outputs, world: World
) -> None:
    """Give the small network of images its weights: those of the checkpoint to go on from, or new.

    Rank 0 trains it while the others wait, and all read the file that it writes.

    Raises:
        TrainerError: an image cannot be used, or the file cannot be written.
    """
    if not isinstance(model.visual, SmallCnn):
        return
    cnn = model.visual
    path = outputs.folder / "features" / "visual.safetensors"
    earlier, _ = files.choose(config.run.resume, outputs.checkpoints)

    def train() -> None:
        if earlier is None:
            images = _some_images(corpus, cnn.size)
            loss = train_small_cnn(cnn, images, config.visual.visual_iter, config.run.seed)
            log.info("small network of images: trained on %d images, loss %.3f", len(images), loss)
        with whole_file(path) as unfinished:
            unfinished.write_bytes(save(cnn.state_dict()))  # save_file raises no OSError

    if outputs.dry_run:
        return
    if earlier is not None:
        _take_over(cnn, earlier)
    wait_for_first(train, world, waiting=lambda: heartbeat.beat(phase="cache"))
    cnn.load_state_dict(load_file(path))


def corpus_features(
    visual: SmallCnn | Pretrained, corpus: Corpus, config: Config, outputs: Outputs, world: World
) -> Features:
    """Return the features (N, F) of each layout's images, from the run's cache.

    Raises:
        TrainerError: an image cannot be used, or the cache cannot be written.
    """
    if outputs.dry_run:
        return LazyFeatures(visual, corpus)
    encoding = Encoding(
        encoder=config.visual.visual_encoder,
        weights=checksum(visual.tower.module if isinstance(visual, Pretrained) else visual),
        parameters={"image_size": config.visual.image_size, "layouts": corpus.digest},
    )
    path = outputs.folder / "features" / f"{corpus.split}.npz"
    return cached_features(
        path, encoding, corpus.listing, lambda row: visual.encode(corpus.images(row)), world
    )


def _some_images(corpus: Corpus, size: int) -> list[Image]:
    """Read some images, of posters spread evenly over the corpus, as small as they are seen."""
    most = max(1, int(MOST_IMAGES / max(1.0, corpus.lengths.mean())))
    rows = np.unique(np.linspace(0, len(corpus) - 1, min(most, len(corpus))).astype(int))
    images: list[Image] = []
    for row in rows:
        heartbeat.beat(phase="cache")
        images += [shrink(image, size) for image in corpus.images(int(row))]
    return images


def _take_over(cnn: SmallCnn, path: Path) -> None:
    """Load the weights that a checkpoint's features were made with.

    Raises:
        TrainerError: it has none, or of another size.
    """
    try:
        weights = load_file(path / WEIGHTS)
        found = {k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)}
        cnn.load_state_dict(found)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainerError(
            f"{path} has no small network of images that fits: {str(error).splitlines()[0]}",
            "give the settings it was trained with: --config CHECKPOINT's config_used.yaml",
        ) from None


class LazyFeatures:
    """Features of each layout's images, computed when they are asked for."""

    def __init__(self, visual: SmallCnn | Pretrained, corpus: Corpus) -> None:
        self._visual, self._corpus = visual, corpus

    def __len__(self) -> int:
        return len(self._corpus)

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        return self._visual.encode(self._corpus.images(row))
