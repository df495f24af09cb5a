"""Clips, features, batches and statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_data import SKELETON, poses, write_data
from torch.utils.data._utils.pin_memory import pin_memory

from trainers.engine.errors import ConfigError, TrainerError
from trainers.motion.clips import clips as reading
from trainers.motion.clips.clips import open_clips
from trainers.motion.rotations import from_axis_angle
from trainers.rvq.config import DatasetConfig
from trainers.rvq.data import open_data


def config(root, **changes):
    return replace(DatasetConfig(data=str(root), window_size=16, window_stride=8), **changes)


def seeds(count):
    return np.arange(count, dtype=np.uint64)


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [40, 10, 33], "val": [21, 8]})


def test_a_missing_split_lists_what_there_is(root):
    """No split is silently replaced by another."""
    with pytest.raises(TrainerError, match="has no split test; it has: train, val"):
        open_data(config(root), "test")
    with pytest.raises(TrainerError, match="there is no data set at"):
        open_data(config(root / "no"), "train")
    (root / "test").mkdir()
    with pytest.raises(TrainerError, match="has no sample"):
        open_data(config(root), "test")


def test_dev_is_another_name_of_val(root):
    """Whichever of the two is there is validated on."""
    (root / "val").rename(root / "dev")
    assert open_data(config(root), "val").source.source.endswith("dev")
    with pytest.raises(TrainerError, match="has no split val; it has: dev, train"):
        open_data(config(root, val_split="val"), "val")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.zeros((5, 20), np.float32), r"has shape \(5, 20\)"),
        (np.zeros((5, 18), np.float32), "has 18 values a frame"),
        (np.zeros((0, 21), np.float32), r"has shape \(0, 21\)"),
        (np.zeros(21, np.float32), r"has shape \(21,\)"),
        (np.zeros((5, 21), int), "floating point"),
        (np.array([{"a": 1}], dtype=object), "cannot be read"),
    ],
)
def test_a_pose_that_is_none_is_named(root, value, sentence):
    """Shape, width and type are checked before training; pickles are never loaded."""
    np.save(root / "train" / "clip01" / "pose.npy", value)
    with pytest.raises(TrainerError, match=sentence) as caught:
        open_data(config(root), "train")
    assert "clip01/pose.npy" in caught.value.message


@pytest.mark.parametrize("keep", [0, 50, 400])
def test_a_truncated_file_is_named(root, keep):
    """A file cut anywhere is refused, not read as far as it goes."""
    path = root / "train" / "clip01" / "pose.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainerError, match=r"clip01/pose.npy cannot be read"):
        open_data(config(root), "train")


@pytest.mark.parametrize("preload", ["yes", "no"])
def test_nan_is_named_with_its_frame(root, preload):
    """Whether clips are held in memory or read by window."""
    pose = poses(40, 7)
    pose[30, 2] = np.nan
    np.save(root / "train" / "clip00" / "pose.npy", pose)
    with pytest.raises(TrainerError, match=r"clip00/pose.npy holds a value .* in frame 30"):
        open_data(config(root, preload=preload), "train").statistics(0.01)


def test_a_skeleton_of_other_joints_is_refused(tmp_path):
    """skeleton.json must fit the poses, and be one."""
    root = write_data(tmp_path / "data", {"train": [9]}, joints=6)
    with pytest.raises(TrainerError, match=r"skeleton.json has 7 joints"):
        open_clips(root, "train")
    (root / "skeleton.json").write_text('{"joints": ["a"]}')
    with pytest.raises(TrainerError, match="does not describe a skeleton"):
        open_clips(root, "train")


def test_rotation_is_chosen_by_the_skeleton(root):
    """6D where there is one, axis-angle else, and either on demand."""
    assert open_data(config(root), "train").width == 42
    assert open_data(config(root, rotation="axis_angle"), "train").width == 21
    (root / "skeleton.json").unlink()
    assert open_data(config(root), "train").width == 21


def test_batches_hold_the_windows_asked_for(root):
    """Rows are the clips' own frames; short clips are padded and masked."""
    data = open_data(config(root), "train")
    rows = np.arange(len(data.windows))
    batch = data.load(rows, seeds(len(rows)))

    assert batch.features.shape == (len(rows), 16, 42)
    for row in rows:
        clip, start, length = (
            int(column[row])
            for column in (data.windows.sample, data.windows.start, data.windows.length)
        )
        wanted = from_axis_angle(data.source.poses[clip][start : start + length], "6d")
        np.testing.assert_array_equal(batch.features[row, :length], wanted)
        assert batch.mask[row].tolist() == [True] * length + [False] * (16 - length)
    full = rows[data.windows.length == 16]
    assert data.load(full, seeds(len(full))).mask is None


def test_memory_mapped_and_preloaded_give_the_same(root):
    """Where the clips lie makes no difference."""
    mapped, loaded = (open_data(config(root, preload=how), "train") for how in ("no", "yes"))
    rows = np.arange(len(mapped.windows))
    torch.testing.assert_close(
        mapped.load(rows, seeds(len(rows))).features, loaded.load(rows, seeds(len(rows))).features
    )


def test_of_a_long_clip_only_the_window_is_read(tmp_path, monkeypatch):
    """A clip of 100,000 frames costs a window no more than itself."""
    root = write_data(tmp_path / "data", {"train": [100_000]})
    data = open_data(config(root, preload="no"), "train")
    read = []
    monkeypatch.setattr(reading, "check_finite", lambda _path, pose, _start: read.append(pose.size))

    data.load(np.array([3, 9_000]), seeds(2))

    assert isinstance(data.source.poses[0], np.memmap)
    assert read == [16 * 21, 16 * 21]


def test_variation_follows_the_seed_alone(root):
    """A sample is varied by its own seed, whatever else is in the batch."""
    data = open_data(config(root, mirror=True, turn=True, blend=0.7), "train")
    full = np.flatnonzero(data.windows.length == 16)
    whole = data.load(full, seeds(len(full))).features
    last = data.load(full[-1:], seeds(len(full))[-1:]).features
    torch.testing.assert_close(whole[-1:], last)
    assert not torch.equal(last, data.load(full[-1:], np.array([99], np.uint64)).features)


def test_variation_needs_a_skeleton(root, tmp_path):
    """What cannot be done is refused by name."""
    (root / "skeleton.json").unlink()
    with pytest.raises(ConfigError, match=r"dataset.mirror, turn and blend need rotation 6d"):
        open_data(config(root, mirror=True), "train")
    plain = write_data(tmp_path / "plain", {"train": [9]}, skeleton=SKELETON)
    with pytest.raises(ConfigError, match="not symmetric"):
        open_data(config(plain, mirror=True), "train")


def test_turning_needs_y_up_and_nothing_that_rotates_above(root):
    """Data that would be turned about another axis than up is refused, by the axis or the clip."""
    clip = root / "train" / "clip01" / "pose.npy"
    pose = np.load(clip)
    pose[-1, 2] = 0.1
    np.save(clip, pose)
    with pytest.raises(ConfigError, match="a joint above Hips rotates in clip01"):
        open_data(config(root, turn=True), "train")
    for path in root.glob("train/*/pose.npy"):
        pose = np.zeros_like(np.load(path))
        pose[:, 5] = np.linspace(-3, 3, len(pose))  # the hips turn about z
        np.save(path, pose)
    with pytest.raises(ConfigError, match=r"z seems to be up in .*train, y is wanted"):
        open_data(config(root, turn=True), "train")


def test_shares_of_a_padded_batch(root):
    """Every rank knows from the plan what it holds of all frames, steps and tokens."""
    data = open_data(config(root), "train")
    whole = np.flatnonzero(data.windows.length == 16)[:3]
    short = np.flatnonzero(data.windows.length == 10)
    together = np.concatenate([whole, short])

    def shares(rows):
        return data.load(rows, seeds(2), together).shares(4)

    full, padded = shares(together[:2]), shares(together[2:])
    assert full == pytest.approx(
        {"recons": 32 / 29, "joints": 32 / 29, "velocity": 30 / 27, "commit": 8 / 7.5}
    )
    assert {name: full[name] + padded[name] for name in full} == pytest.approx(
        dict.fromkeys(full, 2.0)
    )
    assert data.load(whole[:1], seeds(1), whole).shares(4) is None
    assert data.load(together, seeds(4), together).shares(4) is None


def test_batches_can_be_pinned(root, monkeypatch):
    """DataLoader asks a batch of its own kind to do it."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor + 1)
    data = open_data(config(root), "train")
    batch = data.load(np.arange(2), seeds(2))

    pinned = pin_memory(batch)

    assert torch.equal(pinned.features, batch.features + 1)


def test_statistics_are_those_of_all_frames(root):
    """Mean and deviation over the split; what never moves is divided by the floor."""
    data = open_data(config(root), "train")
    everything = np.concatenate([from_axis_angle(pose, "6d") for pose in data.source.poses])
    everything = everything.astype(np.float64)

    found = data.statistics(0.05)

    np.testing.assert_allclose(found.mean, everything.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, np.maximum(everything.std(0), 0.05), atol=1e-6)
    np.testing.assert_allclose(found.baseline, found.mean)


def test_statistics_of_mirrored_data_are_symmetric(root):
    """They are taken over what training sees."""
    data = open_data(config(root, mirror=True), "train")
    mean = data.statistics(0.01).mean
    mirrored = data.augmentation.reflect(mean[None, None], np.array([True]), np.zeros(1))[0, 0]
    np.testing.assert_allclose(mean, mirrored, atol=1e-6)


def test_the_digest_tells_when_data_changed(root):
    """Sorted names and lengths: another clip, another digest."""
    before = open_clips(root, "train").digest
    assert open_clips(root, "train").digest == before
    np.save(root / "train" / "clip00" / "pose.npy", poses(41, 7))
    assert open_clips(root, "train").digest != before
    assert len(open_clips(root, "train", max_samples=2).names) == 2
