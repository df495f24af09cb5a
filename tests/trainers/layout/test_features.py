"""Features of images, kept in a run's folder for as long as they are of these weights and data."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_layouts import SMALL, layout
from torch import nn

from trainers.engine.distributed import World
from trainers.engine.errors import TrainerError
from trainers.engine.frozen import Frozen
from trainers.engine.outputs import Outputs
from trainers.layout.config import VisualConfig
from trainers.layout.features import corpus_features, learn_to_see
from trainers.layout.layouts.corpus import Corpus
from trainers.layout.layouts.vocabulary import Vocabulary
from trainers.layout.model.model import LayoutModel
from trainers.layout.model.visual import Pretrained

ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
CONFIG = replace(SMALL, visual=VisualConfig(image_size=16, visual_iter=1, visual_dim=4))
IMAGE = np.full((4, 4, 4), 99, np.uint8)


class Tower(Pretrained):
    """A vision model of one number, which is the feature of every image."""

    def __init__(self, value):
        nn.Module.__init__(self)
        self.tower = Frozen(nn.Linear(1, 1, bias=False))
        nn.init.constant_(self.tower.module.weight, value)
        self.features = 1

    def encode(self, images):
        """The number, for each image."""
        return np.full((len(images), 1), self.tower.module.weight.item(), np.float32)


def corpus(*layouts):
    """Layouts whose elements have an image."""
    return Corpus("made", "train", layouts, lambda _row, _element: IMAGE)


@pytest.fixture(name="outputs")
def _outputs(tmp_path):
    return Outputs(folder=tmp_path, trainer="layout", config={})


def test_another_vision_model_in_the_same_folder(outputs):
    """Its features are computed again, though its folder has the same name."""
    found = [
        corpus_features(Tower(value), corpus(layout(2)), CONFIG, outputs, ALONE)[0].tolist()
        for value in (1.0, 1.0, 2.0)
    ]
    assert found == [[[1.0], [1.0]], [[1.0], [1.0]], [[2.0], [2.0]]]


def test_elements_in_another_order(outputs):
    """Features are of elements in their order, so they are computed again."""
    one = layout(3)
    turned = replace(one, boxes=one.boxes[::-1].copy())
    files = []
    for made in (one, one, turned):
        corpus_features(Tower(1.0), corpus(made), CONFIG, outputs, ALONE)
        files.append((outputs.folder / "features/train.npz").stat().st_ino)
    assert files[0] == files[1] != files[2]


def test_a_full_disk_is_a_sentence(outputs, monkeypatch):
    """And nothing half-written stays."""

    def full(_path, _content):
        raise OSError(errno.ENOSPC, "No space left on device")

    model = LayoutModel(CONFIG, Vocabulary(categories=(), pictured=True))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainerError, match=r"visual\.safetensors cannot be written: No space left"):
        learn_to_see(model, corpus(layout(2)), CONFIG, outputs, ALONE)
    assert not list((outputs.folder / "features").iterdir())
