"""The built-in posters."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.layout.config import DatasetConfig
from trainers.layout.layouts.drawn import DRAW, draw
from trainers.layout.layouts.reading import open_corpus
from trainers.layout.layouts.synthetic import main
from trainers.layout.metrics.boxes import alignment, overlap


@pytest.fixture(name="val", scope="module")
def _val():
    return open_corpus(DatasetConfig(), "val")


def test_a_thousand_posters_in_a_moment(val):
    """The same every time; listed at once, and drawn when read. Images alone are told."""
    began = time.process_time()
    train = open_corpus(DatasetConfig(), "train")
    assert time.process_time() - began < 2

    assert (len(train), len(val)) == (779, 221)
    assert train.pictured
    assert train.categories == ()
    assert set(train.lengths) == {4, 5, 6, 7, 8}
    again = open_corpus(DatasetConfig(), "train")
    assert train.describe() == again.describe()
    for one, other in zip(train.images(7), again.images(7), strict=True):
        np.testing.assert_array_equal(one, other)


def test_they_are_set_well(val):
    """On the canvas, aligned, and with hardly any overlap."""
    shares = [one.boxes / np.array([*one.canvas, *one.canvas]) for one in val.layouts]
    for boxes in shares:
        assert boxes.min() > 0
        assert (boxes[:, :2] + boxes[:, 2:]).max() < 1
    assert np.mean([overlap(boxes) for boxes in shares]) < 0.01
    assert np.mean([alignment(boxes) for boxes in shares]) < 0.4


def test_an_image_is_an_eighth_of_its_box(val):
    """So that it tells the size of its element."""
    for row in range(10):
        sizes = [one.shape[1::-1] for one in val.images(row)]
        np.testing.assert_array_equal(np.multiply(sizes, 8), val.layouts[row].boxes[:, 2:])


def test_kinds_are_told_apart_by_their_looks():
    """By a few numbers of an image alone, whatever its size: the nearest mean is the own."""

    def look(kind, seed):
        rng = np.random.default_rng(seed)
        width, height = rng.integers(16, 60), rng.integers(10, 40)
        image = draw(kind, int(width), int(height), rng).astype(float) / 255
        opaque = image[..., 3] > 0.5
        ink = image[..., :3][opaque]
        spread = ink.max(axis=1) - ink.min(axis=1)
        return [
            opaque.mean(),
            spread.mean(),
            ink.mean(),
            ink.std(),
            (ink[:, 0] - ink[:, 2]).mean() * (opaque.mean() > 0.99),
            opaque[len(opaque) // 2, image.shape[1] // 2] * 1.0,
            opaque.any(axis=1).mean(),
        ]

    looks = {kind: np.array([look(kind, seed) for seed in range(60)]) for kind in DRAW}
    every = np.concatenate(list(looks.values()))
    scale = every.std(axis=0)
    means = np.array([found[:40].mean(axis=0) for found in looks.values()])
    right = []
    for number, found in enumerate(looks.values()):
        apart = np.abs((found[40:, None] - means[None]) / scale).sum(axis=-1)
        right += (apart.argmin(axis=1) == number).tolist()
    assert np.mean(right) > 0.9


def test_they_are_written_as_the_guides_folders(tmp_path, val, capsys):
    """And read as they are; whole or not at all."""
    main(["--out", str(tmp_path / "made"), "--posters", "30"])
    assert "30 posters" in capsys.readouterr().out
    found = open_corpus(DatasetConfig(data=str(tmp_path / "made")), "val")

    assert len(found) > 3
    for row, one in enumerate(found.layouts):
        assert one.name == val.layouts[row].name
        np.testing.assert_array_equal(one.boxes, val.layouts[row].boxes)
        for image, drawn in zip(found.images(row), val.images(row), strict=True):
            np.testing.assert_array_equal(image, drawn)
    with pytest.raises(TrainerError, match="is not empty"):
        main(["--out", str(tmp_path / "made")])
    with pytest.raises(TrainerError, match="must be from 1 to 1,000"):
        main(["--out", str(tmp_path / "other"), "--posters", "0"])
    assert not (tmp_path / "other").exists()
