"""The built-in sentences."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.signllm.config import DatasetConfig
from trainers.signllm.sentences import grammar
from trainers.signllm.sentences.compare import equal_texts
from trainers.signllm.sentences.reading import open_corpus
from trainers.signllm.sentences.synthetic import main, signs_of
from trainers.signllm.skeleton import BONES, HANDS


def test_hundreds_of_sentences_in_a_moment():
    """The same every time; listed at once, and made when read."""
    began = time.process_time()
    train, val = (open_corpus(DatasetConfig(), split) for split in ("train", "val"))
    assert time.process_time() - began < 1

    assert (len(train), len(val)) == (600, 60)
    assert train.languages == val.languages == ("ASL", "DGS", "LSF")
    assert len(train.glosses) == 71  # 24 in each language, and one name is that of two signs
    assert set(val.glosses) <= set(train.glosses)
    again = open_corpus(DatasetConfig(), "train")
    np.testing.assert_array_equal(train.poses(7), again.poses(7))
    assert train.describe()["digest"] == again.describe()["digest"]


def test_validation_holds_out_whole_combinations():
    """No text of it is trained on, nor who does what to what, in any language."""
    train, val = (open_corpus(DatasetConfig(), split) for split in ("train", "val"))
    assert equal_texts(train, val) == []
    said = {
        split: {
            (one.p, one.v, one.o)
            for language in grammar.WORDS
            for one in grammar.contents(language, split)
        }
        for split in ("train", "val")
    }
    assert said["train"].isdisjoint(said["val"])


def test_texts_are_sentences_and_signs_have_an_order_of_their_own():
    """Articles, endings and the verb stand as each language wants them."""
    content = grammar.Content(t=1, p=0, v=0, o=0, q=0)
    shown = {
        language: (
            grammar.text(language, content),
            " ".join(grammar.gloss(language, *one) for one in grammar.concepts(language, content)),
        )
        for language in grammar.WORDS
    }
    assert shown == {
        "ASL": ("tomorrow the mother buys a red apple", "TOMORROW APPLE RED MOTHER BUY"),
        "DGS": ("morgen kauft die Mutter einen roten Apfel", "MORGEN MUTTER ROT APFEL KAUFEN"),
        "LSF": ("demain la mère achète une pomme rouge", "DEMAIN MÈRE POMME ROUGE ACHETER"),
    }
    plain = grammar.Content(t=-1, p=2, v=4, o=0, q=-1)
    assert [grammar.text(language, plain) for language in grammar.WORDS] == [
        "the child wants an apple",
        "das Kind möchte einen Apfel",
        "l'enfant veut une pomme",
    ]


def test_bodies_have_a_natural_measure_and_move_smoothly():
    """Neck at the origin, shoulders of width 1, arms of one length, no jumps."""
    corpus = open_corpus(DatasetConfig(), "val")
    joints = corpus.poses(0).reshape(-1, 50, 3)
    assert np.isfinite(joints).all()
    assert (joints[:, 1] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(joints[:, 2] - joints[:, 5], axis=1), 1, atol=1e-6)
    for first, second in BONES:
        if first > 1 or first in HANDS:
            lengths = np.linalg.norm(joints[:, first] - joints[:, second], axis=1)
            assert np.ptp(lengths) < 1e-5
    assert np.abs(np.diff(joints, axis=0)).max() < 1
    assert 0.02 < np.abs(np.diff(joints[:, 4], axis=0)).mean() < 0.1


def test_signs_differ_within_and_between_languages():
    """24 signs of each; none is another one, nor that of another language."""
    every = [sign.start for language in grammar.WORDS for sign in signs_of(language).values()]
    assert len(every) == 3 * 24
    for language in grammar.WORDS:
        starts = np.stack([sign.start for sign in signs_of(language).values()])
        apart = np.abs(starts[:, None] - starts).max(axis=2)
        assert apart[~np.eye(24, dtype=bool)].min() > 0.1
    asl, dgs = (signs_of(language)["v", 0].start for language in ("ASL", "DGS"))
    assert np.abs(asl - dgs).max() > 0.1


def test_another_frame_rate():
    """The same motion at twice as many frames."""
    usual = open_corpus(DatasetConfig(), "val")
    fast = open_corpus(DatasetConfig(pose_fps=50.0), "val")
    assert fast.fps == 50
    count = len(usual.poses(1))
    np.testing.assert_allclose(fast.poses(1)[: 2 * count : 2][:count], usual.poses(1), atol=1e-6)


def test_written_as_files(tmp_path, capsys, monkeypatch):
    """The same sentences as folders, once."""
    monkeypatch.setattr(grammar, "SENTENCES", {"train": 2, "val": 2})
    main(["--out", str(tmp_path / "made")])
    assert "6 sentences in train/, 6 sentences in val/ of ASL, DGS, LSF" in capsys.readouterr().out

    files = open_corpus(DatasetConfig(data=str(tmp_path / "made")), "val")
    built_in = open_corpus(DatasetConfig(), "val")
    assert files.sentences == built_in.sentences
    np.testing.assert_array_equal(files.poses(3), built_in.poses(3))
    with pytest.raises(TrainerError, match="is not empty"):
        main(["--out", str(tmp_path / "made")])
