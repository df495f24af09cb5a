"""Sentences as folders: our arrays, and the JSON of the public converter."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from sign_data import converted, poses, write_folder

from trainers.engine.check_data import UnusableError
from trainers.signllm.sentences.folders import open_part, split_names


def test_arrays_and_json_side_by_side(tmp_path):
    """Frames are known before poses are read; both give the same values."""
    write_folder(tmp_path / "dev" / "a", poses(5, 1), text="un\n texte", gloss="EIN TEXT")
    write_folder(tmp_path / "dev" / "b", poses(7, 2), as_json=True)
    (tmp_path / "dev" / "stray.txt").write_text("not a sentence")
    (tmp_path / "logs" / "run").mkdir(parents=True)

    part = open_part(tmp_path, "dev", "ASL")

    assert split_names(tmp_path) == ("dev",)
    assert [(one.name, one.frames) for one in part.sentences] == [("a", 5), ("b", 7)]
    assert (part.sentences[0].text, part.sentences[0].gloss) == ("un texte", ("EIN", "TEXT"))
    assert part.sentences[1].gloss is None
    np.testing.assert_allclose(part.read(0), poses(5, 1), atol=1e-6)
    np.testing.assert_allclose(part.read(1), poses(7, 2))


def test_json_that_does_not_tell_its_frames_is_counted(tmp_path):
    """As other tools write it."""
    folder = write_folder(tmp_path / "dev" / "a", poses(5), as_json=True)
    found = json.loads((folder / "pose.json").read_text())
    (folder / "pose.json").write_text(json.dumps({"poses": found["poses"]}))

    part = open_part(tmp_path, "dev", "ASL")

    assert part.sentences[0].frames == len(part.read(0)) == 5


def test_folders_that_lack_a_file_are_left_out(tmp_path):
    """A copy that was aborted."""
    (write_folder(tmp_path / "dev" / "a", poses(5)) / "text.txt").unlink()
    (write_folder(tmp_path / "dev" / "b", poses(5)) / "pose.npy").unlink()
    write_folder(tmp_path / "dev" / "c", poses(5))

    part = open_part(tmp_path, "dev", "ASL")

    assert [one.name for one in part.sentences] == ["c"]
    assert part.incomplete == {
        f"{tmp_path}/dev/a": "it has no text.txt",
        f"{tmp_path}/dev/b": "it has no pose.npy and no pose.json",
    }


def _write(name, content):
    def change(folder):
        (folder / name).write_bytes(content)

    return change


def _array(values):
    return lambda folder: np.save(folder / "pose.npy", values)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_write("text.txt", b" \n"), "text.txt: the text is empty"),
        (_write("text.txt", b"\xe9"), "text.txt: it is not UTF-8"),
        (_write("gloss.txt", b"\xe9"), "gloss.txt: it is not UTF-8"),
        (_write("pose.npy", b"nothing"), "pose.npy cannot be read"),
        (_array(np.zeros((4, 384))), r"pose.npy has shape \(4, 384\), \(frames, 150\) is wanted"),
        (_array(np.zeros((0, 150))), "it has 0 frames"),
        (_array(np.zeros((4, 150), int)), "does not hold floating point numbers"),
    ],
)
def test_what_is_wrong_before_poses_are_read(tmp_path, change, why):
    """The folder is named with the reason."""
    folder = write_folder(tmp_path / "dev" / "a", poses(5))
    change(folder)

    part = open_part(tmp_path, "dev", "ASL")

    assert part.sentences == []
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(part.unusable[str(folder)])


@pytest.mark.parametrize("name", ["text.txt", "gloss.txt", "pose.npy", "pose.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    """It has no writer."""
    folder = write_folder(tmp_path / "dev" / "a", poses(5), as_json=name == "pose.json")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)

    part = open_part(tmp_path, "dev", "ASL")

    assert part.sentences == []
    assert name in part.unusable[str(folder)]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('"num_frames": 5', '"num_frames": 6', "has 5 poses, num_frames is 6"),
        ('"hand_left_keypoints_2d": [', '"hand_left_keypoints_2d": [0.5, ', "has 64 values"),
        ('"hand_right_keypoints_2d"', '"hand"', "does not hold frames with"),
        ('"pose_keypoints_2d": [', '"pose_keypoints_2d": ["x", ', "has 25 values"),
        ('"poses"', "poses", "not JSON"),
    ],
)
def test_what_is_wrong_in_the_json(tmp_path, before, after, why):
    """It is found when the sentence is read."""
    folder = write_folder(tmp_path / "dev" / "a", poses(5), as_json=True)
    (folder / "pose.json").write_text(converted(poses(5)).replace(before, after, 1))
    part = open_part(tmp_path, "dev", "ASL")

    with pytest.raises(UnusableError, match=why):
        part.read(0)
