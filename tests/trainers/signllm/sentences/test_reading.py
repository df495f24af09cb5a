"""The way to the sentences of a split, whatever holds them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from sign_data import poses, write_folder, write_parallel

from trainers.engine.errors import TrainerError
from trainers.signllm.config import DatasetConfig
from trainers.signllm.sentences import folders
from trainers.signllm.sentences.reading import open_corpus


def _config(folder, **more):
    return DatasetConfig(data=str(folder), **more)


@pytest.fixture
def languages(tmp_path):
    """Text files of one language, folders of another, and a folder of something else."""
    for split in ("train", "dev"):
        write_parallel(tmp_path / "DGS", split)
        for name in ("a", "b"):
            write_folder(tmp_path / "ASL" / split / name, poses(4))
    (tmp_path / "logs" / "run").mkdir(parents=True)
    return tmp_path


def test_languages_in_folders_of_either_kind(languages):
    """All are read, in order, and validated on dev."""
    corpus = open_corpus(_config(languages), "train")

    assert [one.language for one in corpus.sentences] == ["ASL"] * 2 + ["DGS"] * 3
    assert corpus.languages == ("ASL", "DGS")
    assert (corpus.split, corpus.fps, corpus.lengths.tolist()) == ("train", 25, [4, 4, 4, 5, 6])
    assert corpus.poses(3).dtype == np.float32
    np.testing.assert_allclose(corpus.poses(3), poses(5, 5), atol=1e-5)
    assert open_corpus(_config(languages), "val").split == "dev"


def test_files_in_the_root_are_of_the_language_that_is_given(tmp_path):
    """Text files, and a language's own folder."""
    write_parallel(tmp_path / "a", "train")
    write_folder(tmp_path / "b" / "train" / "x", poses(4))

    for folder in ("a", "b"):
        config = _config(tmp_path / folder, language="DGS")
        assert open_corpus(config, "train").languages == ("DGS",)
    assert open_corpus(_config(tmp_path / "a"), "train").languages == ("unknown",)


def test_a_language_filter(languages):
    """One that is not there is refused, and those there are listed."""
    assert len(open_corpus(_config(languages, languages=("DGS",)), "train")) == 3
    with pytest.raises(TrainerError, match="has no language LSF; it has: ASL, DGS"):
        open_corpus(_config(languages, languages=("LSF", "DGS")), "train")


def test_fewer_sentences_are_taken_from_all_languages(languages):
    """Else a small run would see the first language alone."""
    corpus = open_corpus(_config(languages, max_samples=3), "train")
    assert [one.language for one in corpus.sentences] == ["ASL", "ASL", "DGS"]
    assert [one.name for one in corpus.sentences] == ["a", "b", "one"]


def test_splits(languages):
    """val and dev are one; another may be named; what is missing lists what there is."""
    assert open_corpus(_config(languages, val_split="val"), "val").split == "dev"
    assert open_corpus(_config(languages, train_split="dev"), "train").split == "dev"
    write_parallel(languages / "DGS", "test")
    with pytest.raises(TrainerError, match=r"no split extra; it has: dev, test \(DGS\), train"):
        open_corpus(_config(languages, train_split="extra"), "train")


def test_a_language_without_the_split_is_named(languages, caplog):
    """The others are used."""
    write_parallel(languages / "DGS", "test")
    with caplog.at_level(logging.WARNING, "trainers"):
        corpus = open_corpus(_config(languages, val_split="test"), "val")
    assert corpus.languages == ("DGS",)
    assert "has no split val in: ASL" in caplog.text


def test_long_sentences_are_cut(languages, caplog):
    """To max_frames, and the log says how many."""
    with caplog.at_level(logging.WARNING, "trainers"):
        corpus = open_corpus(_config(languages, max_frames=5), "train")
    assert corpus.lengths.tolist() == [4, 4, 4, 5, 5]
    assert corpus.poses(4).shape == (5, 150)
    assert "1 of 3 sentences of DGS/train are longer than 5 frames" in caplog.text


def test_joints_at_0_were_not_seen_but_the_neck_may_be_there(tmp_path):
    """Normalised poses have the neck at the origin."""
    values = poses(4)
    values[:, 3:6] = 0  # neck
    values[1, 24:87] = 0  # left hand
    values[2, 3:9] = 0  # neck and right shoulder: nobody was found
    write_folder(tmp_path / "ASL" / "train" / "a", values)

    joints = open_corpus(_config(tmp_path), "train").poses(0).reshape(4, 50, 3)

    assert (joints[:2, 1] == 0).all()
    assert np.isnan(joints[2, 1:3]).all()
    assert np.isnan(joints[1, 8:29]).all()
    assert np.isnan(joints).sum() == 3 * (21 + 2)


def test_folders_that_lack_a_file_are_left_out_aloud(languages, caplog):
    """Training goes on without them."""
    (languages / "ASL" / "train" / "a" / "text.txt").unlink()
    with caplog.at_level(logging.WARNING, "trainers"):
        assert len(open_corpus(_config(languages), "train")) == 4
    assert "folders left out of ASL/train: 1; the first is" in caplog.text


def test_a_folder_that_may_not_be_read_is_not_a_language(languages, monkeypatch):
    """The others are, as with lost+found."""
    usual = folders.subfolders

    def locked(folder):
        if folder.name == "logs":
            raise TrainerError("cannot be read: Permission denied")
        return usual(folder)

    monkeypatch.setattr(folders, "subfolders", locked)
    with pytest.raises(TrainerError, match=r"it has: ASL, DGS$"):
        open_corpus(_config(languages, languages=("LSF",)), "train")


def test_an_import_says_its_frame_rate(languages):
    """Other settings than it are refused; without it, they decide."""
    assert open_corpus(_config(languages, pose_fps=50.0), "val").fps == 50
    (languages / "import.json").write_text('{"fps": 30.0}')
    assert open_corpus(_config(languages), "val").fps == 30
    with pytest.raises(TrainerError, match=r"pose_fps is 50, but .*import\.json says 30"):
        open_corpus(_config(languages, pose_fps=50.0), "val")
    for fps in ("0", "-5", "NaN", "Infinity", "1e999"):
        (languages / "import.json").write_text(f'{{"fps": {fps}}}')
        with pytest.raises(TrainerError, match=r"import\.json says .* frames a second"):
            open_corpus(_config(languages), "val")
    (languages / "import.json").write_text("[]")
    assert open_corpus(_config(languages), "val").fps == 25


def test_what_cannot_be_used_stops_with_its_place(languages):
    """The first is named, the others are counted; poses are judged when they are read."""
    for name in ("a", "b"):
        (languages / "ASL" / "train" / name / "text.txt").write_text("")
    with pytest.raises(TrainerError, match=r"train/a: text.txt: .* \(and 1 more") as caught:
        open_corpus(_config(languages), "train")
    assert "data check" in caught.value.hint

    corpus = open_corpus(_config(languages), "val")
    (languages / "ASL" / "dev" / "a" / "pose.npy").unlink()
    with pytest.raises(TrainerError, match=r"ASL/dev/a: "):
        corpus.poses(0)


def test_there_is_nothing(tmp_path):
    """No folder, an empty one, and the built-in data's splits."""
    with pytest.raises(TrainerError, match="there is no data set at"):
        open_corpus(_config(tmp_path / "absent"), "train")
    with pytest.raises(TrainerError, match="holds no sentences") as caught:
        open_corpus(_config(tmp_path), "train")
    assert "LANGUAGE/SPLIT/NAME" in caught.value.hint
    with pytest.raises(TrainerError, match="synthetic has no split test; it has: train, val"):
        open_corpus(replace(DatasetConfig(), val_split="test"), "val")
