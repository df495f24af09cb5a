"""Signed texts as files: what is in them, and that they appear whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pose_format import Pose
from signers import waving

from trainers.engine import film
from trainers.engine.errors import ConfigError, TrainerError
from trainers.signllm.sentences.corpus import mark_unseen
from trainers.signllm.signed import Signed
from trainers.signllm.skeleton import JOINTS, LEFT_HAND, RIGHT_HAND
from trainers.signllm.writing import write


def signed(frames=12, text="good day", gloss=("GOOD", "DAY"), poses=None):
    poses = waving(frames, frames) if poses is None else poses
    return Signed(text=text, language="ASL", poses=poses, fps=25.0, gloss=gloss)


def left_hand_unseen(frames=12):
    poses = waving(frames).reshape(frames, -1, 3)
    poses[3:7, list(LEFT_HAND)] = np.nan
    return poses.reshape(frames, -1)


def test_arrays_say_what_they_are(tmp_path):
    """Poses, text, language and frame rate, without pickles."""
    one = signed(text="grüß Gott 你好")
    assert write([one], tmp_path / "a.npz") == [tmp_path / "a.npz"]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file) == {"poses", "text", "language", "fps"}
        assert file["poses"].dtype == np.float32
        assert (file["poses"] == one.poses).all()
        assert [str(file[name]) for name in ("text", "language", "fps")] == [
            one.text,
            "ASL",
            "25.0",
        ]


def test_several_texts_have_a_file_each_if_the_format_holds_one(tmp_path):
    """Numbered in their order."""
    written = write([signed(9), signed(11)], tmp_path / "a.npz")
    assert [path.name for path in written] == ["a-1.npz", "a-2.npz"]
    assert [len(np.load(path)["poses"]) for path in written] == [9, 11]


def test_skels_are_lines_of_frames_with_their_progress(tmp_path):
    """151 values a frame, exact to the bit; text and gloss beside them, a line for a sentence."""
    unseen = signed(poses=left_hand_unseen(), text="two\nlines")
    written = write([unseen, signed(1)], tmp_path / "dev.skels")

    assert sorted(path.name for path in written) == ["dev.gloss", "dev.skels", "dev.text"]
    assert (tmp_path / "dev.text").read_text() == "two lines\ngood day\n"
    assert (tmp_path / "dev.gloss").read_text() == "GOOD DAY\nGOOD DAY\n"
    first, second = (tmp_path / "dev.skels").read_text().splitlines()
    frames = np.array(first.split(), dtype=np.float32).reshape(-1, 151)
    assert (frames[:, 150] == np.linspace(0, 1, 12, dtype=np.float32)).all()
    assert np.array_equal(mark_unseen(frames[:, :150]), unseen.poses, equal_nan=True)
    assert len(second.split()) == 151
    write([signed(gloss=None)], tmp_path / "other.skels")
    assert not (tmp_path / "other.gloss").exists()


def test_a_pose_file_is_read_by_pose_format(tmp_path):
    """Three components with our joints by name, in pixels; a joint that was not seen has none."""
    one = signed(poses=left_hand_unseen())
    write([one], tmp_path / "a.pose")
    pose = Pose.read((tmp_path / "a.pose").read_bytes())

    components = pose.header.components
    assert [one.name for one in components] == ["POSE", "LEFT_HAND", "RIGHT_HAND"]
    assert [name for part in components for name in part.points] == list(JOINTS)
    assert [len(part.limbs) for part in components] == [7, 20, 20]
    assert (pose.body.fps, pose.body.data.shape) == (25.0, (12, 1, 50, 3))
    seen = pose.body.confidence[:, 0]
    assert (seen[3:7, list(LEFT_HAND)] == 0).all()
    assert seen.sum() == 12 * 50 - 4 * 21
    places = np.ma.getdata(pose.body.data)[:, 0][seen > 0]
    assert places[:, :2].min() == pytest.approx(32)
    assert places[:, :2].max() == pytest.approx(480)
    # Only moved and scaled: distances keep their ratios.
    was, now = one.poses.reshape(12, 50, 3), np.ma.getdata(pose.body.data)[:, 0]
    hand = list(RIGHT_HAND)
    was, now = (np.linalg.norm(np.diff(each[:, hand], axis=1), axis=-1) for each in (was, now))
    assert np.allclose(now / was, (now / was)[0, 0], rtol=1e-3)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    """No pose-format, no ffmpeg, no format: a sentence that says what would do."""
    monkeypatch.setitem(__import__("sys").modules, "pose_format", None)
    with pytest.raises(TrainerError, match="need the package pose-format") as caught:
        write([signed()], tmp_path / "a.pose")
    assert "gpuops[text]" in caught.value.hint
    monkeypatch.setattr(film.FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(TrainerError, match="no ffmpeg here"):
        write([signed()], tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="has no ending that says"):
        write([signed()], tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.gif", "a.npz", "a.skels", "a.png"])
def test_nothing_is_left_half_written(tmp_path, monkeypatch, name):
    """What was there before is still there, and nothing else is."""
    path = tmp_path / name
    path.write_text("mine")

    def fail(*_args, **_more):
        raise RuntimeError

    for target in (
        "numpy.savez_compressed", "trainers.signllm.writing._skels_line",
        "trainers.signllm.drawing.film", "trainers.signllm.drawing.picture",
    ):  # fmt: skip
        monkeypatch.setattr(target, fail)
    with pytest.raises(RuntimeError):
        write([signed()], path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_film_runs_at_the_pace_of_its_poses(tmp_path):
    """A second of poses is twenty pictures, and a short pause; both sentences are in it."""
    write([signed(25), signed(13)], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film_:
        durations = []
        for frame in range(film_.n_frames):
            film_.seek(frame)
            durations.append(film_.info["duration"])
    assert sum(durations) == pytest.approx(1000 + 520 + 2 * 400, abs=100)
