"""Every clip read: what cannot be used is named, what can is described."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from motion_data import poses, write_data

from trainers.engine.errors import ConfigError, TrainerError
from trainers.motion.clips.listing import frame_rate
from trainers.motion.skeleton import load_skeleton
from trainers.rvq import check_data
from trainers.rvq.check_data import check_split


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [40, 70, 33], "val": [64, 80]}, joints=7)


def checked(root, capsys, *words):
    code = check_data.main([str(root), *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_data_set_that_can_be_used(root, capsys):
    """Clips, frames, lengths, features; exit code 0."""
    code, found = checked(root, capsys)
    assert (code, found["usable"]) == (0, True)
    train, val = found["splits"]
    assert (train["split"], train["clips"], train["frames"]) == ("train", 3, 143)
    assert val["seconds"] == pytest.approx(144 / 30)
    assert sum(train["lengths"].values()) == 3
    assert train["short"] == ["clip00", "clip02"]

    assert 0 == check_data.main([str(root), "--split", "val"])
    shown = capsys.readouterr().out
    assert "val: 2 clips, 144 frames" in shown
    assert "train" not in shown
    assert "█" in shown
    assert "never change (joint.axis): Root.x, Root.y, Root.z" in shown


def test_features_are_described_over_all_frames(root):
    """Ranges of means and deviations in a group, as NumPy has them."""
    everything = np.concatenate(
        [np.load(root / "train" / f"clip{i:02d}" / "pose.npy").astype(float) for i in range(3)]
    )
    hips, others = check_split(root, "train", 64).groups
    assert (hips.name, hips.values, others.values) == ("Hips", 3, 18)
    np.testing.assert_allclose(
        hips.std, [everything[:, 3:6].std(0).min(), everything[:, 3:6].std(0).max()]
    )
    rest = np.delete(everything, [3, 4, 5], axis=1)
    np.testing.assert_allclose(others.mean, [rest.mean(0).min(), rest.mean(0).max()])
    assert others.constant == ("Root.x", "Root.y", "Root.z")


def test_smplh_has_four_groups(tmp_path):
    """156 values: orientation, body, two hands."""
    root = write_data(tmp_path / "data", {"train": [9]}, joints=52, skeleton=None)
    groups = check_split(root, "train", 64).groups
    assert {group.name: group.values for group in groups} == {
        "orientation": 3, "body": 63, "left hand": 45, "right hand": 45,
    }  # fmt: skip
    assert groups[0].constant == ("pelvis.x", "pelvis.y", "pelvis.z")


class Runs:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def spoil(path, kind):
    """Make a clip unusable."""
    pose = poses(40, 7)
    if kind == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickled":
        np.save(path, np.array([Runs(path.parents[3] / "made")], dtype=object))
    elif kind == "a pickle":
        path.write_bytes(b"\x80\x04]\x94.")
    elif kind == "missing":
        path.unlink()
    elif kind == "rate":
        (path.parent / "clip.json").write_text('{"fps": 25}')
    elif kind == "no rate":
        (path.parent / "clip.json").write_text("[]")
    elif kind == "a rate of 400 digits":
        (path.parent / "clip.json").write_text(f'{{"fps": {10**400}}}')
    elif kind == "nested":
        (path.parent / "clip.json").write_text("[" * 100_000)
    else:
        pose[30:33, 2] = {"NaN": np.nan, "infinite": np.inf}.get(kind, 0)
        pose = {
            "no frames": pose[:0], "wider": np.zeros((9, 24), np.float32),
            "whole numbers": np.zeros((9, 21), int), "three axes": pose[None],
        }.get(kind, pose)  # fmt: skip
        np.save(path, pose)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("cut off", "cannot be read: it is cut off: 5,908 of 6,008 bytes are there"),
        ("empty", "cannot be read: it is empty"),
        ("pickled", "cannot be read: it holds pickled objects, which are never loaded"),
        ("a pickle", "cannot be read: it is a pickle, which is never loaded"),
        ("missing", "it has no pose.npy"),
        ("NaN", "3 of 40 frames hold a value that is not finite, first frame 30"),
        ("infinite", "3 of 40 frames hold a value that is not finite, first frame 30"),
        ("no frames", "has shape (0, 21), (frames, joints * 3) is wanted"),
        ("wider", "it has 24 values a frame, skeleton.json has 21"),
        ("whole numbers", "does not hold floating point numbers"),
        ("three axes", "has shape (1, 40, 21), (frames, joints * 3) is wanted"),
        ("rate", "it has 25 frames a second, the data set 30"),
        ("no rate", "clip.json cannot be read"),
        ("a rate of 400 digits", "clip.json cannot be read"),
        ("nested", "clip.json cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_reason(root, capsys, kind, why):
    """By the clip's name, whatever is wrong; exit code 1; the others are described all the same."""
    spoil(root / "train" / "clip01" / "pose.npy", kind)
    code, found = checked(root, capsys)
    assert (code, found["usable"]) == (1, False)
    assert found["splits"][0]["unusable"] == {"clip01": why}
    assert found["splits"][0]["clips"] == 2
    assert not (root.parent / "made").exists()

    assert 1 == check_data.main([str(root)])
    assert f"  unusable: 1\n    clip01: {why}" in capsys.readouterr().out


def test_mixed_widths_are_named(tmp_path, capsys):
    """Within a split by the clip, between splits by both."""
    root = write_data(tmp_path / "data", {"train": [40, 70], "val": [9]}, joints=7, skeleton=None)
    np.save(root / "train" / "clip01" / "pose.npy", np.zeros((9, 24), np.float32))
    code, found = checked(root, capsys)
    assert code == 1
    assert found["splits"][0]["unusable"] == {
        "clip01": "it has 24 values a frame, clip00 has 21"
    }  # fmt: skip
    np.save(root / "train" / "clip01" / "pose.npy", np.zeros((9, 21), np.float32))
    np.save(root / "val" / "clip00" / "pose.npy", np.zeros((9, 24), np.float32))
    assert 1 == check_data.main([str(root), "--json"])
    told = capsys.readouterr()
    problem = "the splits differ in values a frame: 21 in train, 24 in val"
    assert told.err == f"{problem}\n"
    assert json.loads(told.out)["problems"] == [problem]


@pytest.mark.parametrize("fps", ["0", "-30", "NaN", "Infinity", "1" + "0" * 400, "[" * 100_000])
def test_a_data_set_has_a_frame_rate(root, fps):
    """Finite and above 0, wherever it is read: for windows, or with the skeleton."""
    text = json.dumps(json.loads((root / "skeleton.json").read_text()) | {"fps": "FPS"})
    (root / "skeleton.json").write_text(text.replace('"FPS"', fps))
    wrong = "is damaged: it is not JSON" if "[" in fps else r"describe a skeleton \(.*(fps|rate)"
    for read in (frame_rate, load_skeleton):
        with pytest.raises(TrainerError, match=wrong):
            read(root)


def test_nearly_the_same_rate_is_the_same(root, capsys):
    """29.97 frames a second pass for 30."""
    (root / "train" / "clip01" / "clip.json").write_text('{"fps": 29.97}')
    assert 0 == checked(root, capsys)[0]


def test_a_missing_split_lists_what_there_is(root, tmp_path):
    """As training does."""
    with pytest.raises(TrainerError, match="has no split test; it has: train, val"):
        check_data.main([str(root), "--split", "test"])
    with pytest.raises(TrainerError, match="there is no data set at"):
        check_data.main([str(tmp_path / "gone")])


def test_what_training_passes_over_is_passed_over(root, capsys):
    """A stray file is no clip."""
    (root / "train" / "notes.txt").write_text("walks on Tuesday")
    assert 0 == checked(root, capsys)[0]


@pytest.mark.parametrize(
    ("split", "problem"),
    [("val", "there is no split to validate on: val or dev"), ("train", "there is no split train")],
)
def test_what_training_would_miss_is_a_problem(root, capsys, split, problem):
    """Whoever looks at one split alone needs no other."""
    (root / split).rename(root / "test")
    code, found = checked(root, capsys)
    assert (code, found["usable"], found["problems"]) == (1, False, [problem])
    assert 0 == checked(root, capsys, "--split", "test")[0]


@pytest.mark.parametrize(
    "words",
    [
        ("--window-size", "64", "--multi-length", "0.5", "1"),
        ("--window_size", "32", "--multi_length_training", "1", "2"),
    ],
)
def test_shorter_than_any_window(root, capsys, words):
    """By the windows that training would cut: a note, for such clips are padded."""
    _, found = checked(root, capsys, *words)
    assert found["splits"][0]["short"] == []


@pytest.mark.parametrize(
    "words", [("--multi-length", "nan"), ("--multi-length", "inf", "1"), ("--window-size", "-3")]
)
def test_a_window_that_is_none_is_refused(root, words):
    """As training refuses it."""
    with pytest.raises(ConfigError, match="cannot be"):
        check_data.main([str(root), *words])


def test_gpuops_hands_over(root, gpuops):
    """`gpuops data check` is the trainer's own command, with its exit code."""
    spoil(root / "train" / "clip01" / "pose.npy", "NaN")
    ran = gpuops("data", "check", root, "--trainer", "rvq", "--split", "train")
    assert (1, "") == (ran.returncode, ran.stderr)
    assert "clip01: 3 of 40 frames hold a value that is not finite, first frame 30" in ran.stdout
