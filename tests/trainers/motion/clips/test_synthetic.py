"""The built-in data."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.motion.clips.clips import open_clips
from trainers.motion.clips.synthetic import main, synthetic_clips


def test_hundreds_of_clips_in_a_moment():
    """156 values a frame, the same every time, no clip in both splits."""
    began = time.process_time()
    train = synthetic_clips("train")
    assert time.process_time() - began < 2

    assert len(train.names) >= 200
    assert {pose.shape[1] for pose in train.poses} == {156}
    np.testing.assert_array_equal(train.poses[7], synthetic_clips("train").poses[7])
    assert train.digest != synthetic_clips("val").digest
    assert len(synthetic_clips("train", max_samples=3).names) == 3


def test_there_is_structure_to_learn():
    """A fifth of the dimensions hold nearly all of the variance."""
    frames = np.concatenate(synthetic_clips("train").poses[:60]).astype(np.float64)
    values = np.linalg.svd(frames - frames.mean(0), compute_uv=False) ** 2
    assert values[:32].sum() > 0.9 * values.sum()
    assert values[0] < 0.6 * values.sum()


def test_written_as_files(tmp_path, capsys):
    """The same clips in the layout, once."""
    main(["--out", str(tmp_path / "made")])
    assert "320 clips in train/, 40 clips in val/" in capsys.readouterr().out
    clips = open_clips(tmp_path / "made", "val")
    np.testing.assert_array_equal(clips.poses[3], synthetic_clips("val").poses[3])
    assert not clips.skeleton.approximate
    with pytest.raises(TrainerError, match="is not empty"):
        main(["--out", str(tmp_path / "made")])


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    """The one that one stands in has no name to appear by; one may not be looked into."""
    monkeypatch.chdir(tmp_path)
    for out in (".", "..", "/"):
        with pytest.raises(TrainerError, match="is not a folder that can be made"):
            main(["--out", out])

    def locked(_path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(TrainerError, match="locked cannot be written: Permission denied"):
        main(["--out", "locked"])


def test_no_other_split():
    """There are two."""
    with pytest.raises(TrainerError, match="it has: train, val"):
        synthetic_clips("test")
