"""One way to the posters of a split, and what is said of them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from made_posters import LAYERS, image, poster, posters

from trainers.engine.errors import TrainerError
from trainers.layout.config import DatasetConfig
from trainers.layout.layouts.reading import BLANK, open_corpus

NAMES = [f"Poster_{number}" for number in range(12)]


def opened(root, split="train", **changes):
    """A split of a data set."""
    return open_corpus(DatasetConfig(data=str(root), **changes), split)


def names(corpus):
    """The names of its posters."""
    return [one.name for one in corpus.layouts]


def test_a_folder_of_posters_is_split_by_their_names(tmp_path):
    """Every poster is in one split; more posters move none."""
    posters(tmp_path / "few", *NAMES[:8])
    posters(tmp_path / "more", *NAMES)
    few = {split: names(opened(tmp_path / "few", split)) for split in ("train", "val")}
    more = {split: names(opened(tmp_path / "more", split)) for split in ("train", "val", "dev")}

    assert sorted(few["train"] + few["val"]) == NAMES[:8]
    assert set(few["train"]) <= set(more["train"])
    assert set(few["val"]) <= set(more["val"])
    assert more["dev"] == more["val"]


def test_the_folder_of_one_poster(tmp_path, monkeypatch):
    """As the public code's --poster_dir; as training data there is too little of it."""
    posters(tmp_path, *NAMES)
    assert names(opened(tmp_path / "Poster_3", "val", val_share=0.999999)) == ["Poster_3"]
    monkeypatch.chdir(tmp_path / "Poster_3")
    assert names(opened(".", "val", val_share=0.999999)) == ["Poster_3"]
    with pytest.raises(TrainerError, match="split train"):
        opened(".", val_share=0.999999)


def test_splits_with_a_folder_of_their_own(tmp_path):
    """dev is another name of val; a split that is not there is named, with those that are."""
    posters(tmp_path / "train", "a", "b")
    posters(tmp_path / "dev", "c")
    assert names(opened(tmp_path)) == ["a", "b"]
    assert names(opened(tmp_path, "val")) == ["c"]
    assert opened(tmp_path, "val").split == "dev"
    with pytest.raises(TrainerError, match="no split test; it has: train, dev"):
        opened(tmp_path, "test")


def test_a_poster_that_is_named_as_a_split(tmp_path):
    """It is a poster."""
    posters(tmp_path, "train", *NAMES)
    assert "train" in names(opened(tmp_path)) + names(opened(tmp_path, "val"))


def test_what_a_run_records(tmp_path):
    """Posters, elements, categories, and whether there are images."""
    posters(tmp_path / "train", "a", "b")
    about = opened(tmp_path).describe()
    assert (about["posters"], about["elements"], about["pictured"]) == (2, 6, True)
    assert about["categories"] == ["picture", "text", "title"]


def test_posters_without_images(tmp_path):
    """Their elements have none, which is said if they are wanted."""
    posters(tmp_path / "train", "a", pictured=False)
    corpus = opened(tmp_path)
    assert not corpus.pictured
    with pytest.raises(TrainerError, match="have no images"):
        corpus.images(0)


def test_elements_without_an_image_among_others_that_have_one(tmp_path, caplog):
    """They are seen as grey, which is said once."""
    layers = [*LAYERS[:2], LAYERS[2] | {"src": ""}]
    posters(tmp_path / "train", "a")
    posters(tmp_path / "train", "b", layers=layers)
    with caplog.at_level(logging.WARNING, "trainers"):
        corpus = opened(tmp_path)

    assert caplog.messages == ["1 of 6 elements have no image and are seen as grey, in posters: b"]
    shown = corpus.images(1)
    assert corpus.layouts[1].categories[1] == "text"
    np.testing.assert_array_equal(shown[1], BLANK)
    assert shown[0].shape == (6, 8, 4)


def test_what_is_changed_is_said_once(tmp_path, caplog):
    """Posters of too many elements, boxes beyond the canvas, and folders of something else."""
    posters(tmp_path / "train", "a", layers=[LAYERS[1]] * 5)
    posters(tmp_path / "train", "b", layers=[LAYERS[1], LAYERS[1] | {"x": 390}])
    posters(tmp_path / "train", "c", layers=[LAYERS[1], LAYERS[1] | {"x": 400}])
    (tmp_path / "train" / "notes").mkdir()
    with caplog.at_level(logging.WARNING, "trainers"):
        corpus = opened(tmp_path, max_elements=3)

    assert corpus.lengths.tolist() == [3, 2, 1]
    assert caplog.messages == [
        "posters of more than 3 elements (max_elements) keep the 3 at the back: a",
        "posters with elements of no area or outside the canvas, which are left out: c",
        "posters with boxes that are cut at the edge of the canvas: b",
        "folders that are left out, for they have no json: notes",
    ]


def test_no_more_than_so_many_posters(tmp_path):
    """The first of each split."""
    posters(tmp_path / "train", "a", "b", "c")
    assert names(opened(tmp_path, max_samples=2)) == ["a", "b"]
    assert len(open_corpus(DatasetConfig(max_samples=3), "val")) == 3


def test_a_poster_that_cannot_be_used(tmp_path):
    """It is named, and the number of others."""
    posters(tmp_path / "train", "a")
    posters(tmp_path / "train", "b", "c", layers=[])
    with pytest.raises(TrainerError, match=r"train/b: it has no element \(and 1 more cannot"):
        opened(tmp_path)


def test_an_image_that_is_a_text(tmp_path):
    """It is named when it is read, with its poster."""
    folder = poster(tmp_path / "train" / "a")
    (folder / "parse" / "0.png").write_text("not an image")
    with pytest.raises(TrainerError, match=r"train/a: 0\.png is not an image"):
        opened(tmp_path).images(0)


def test_nothing_to_read(tmp_path):
    """No folder, an empty one, one of other files, no poster of a split, no such split."""
    with pytest.raises(TrainerError, match="there is no data set at"):
        opened(tmp_path / "gone")
    with pytest.raises(TrainerError, match="split train, holds no poster"):
        opened(tmp_path)
    image(tmp_path / "pictures" / "a.png")
    with pytest.raises(TrainerError, match="split train, holds no poster"):
        opened(tmp_path)
    posters(tmp_path, "a")
    with pytest.raises(TrainerError, match=r"no poster of split .*, and there are 1 posters"):
        [opened(tmp_path, split) for split in ("train", "val")]
    with pytest.raises(TrainerError, match="no split test; it has: train, val"):
        opened(tmp_path, "test")
