"""The import of .pose files, written by the library itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.signllm.config import DatasetConfig
from trainers.signllm.importers.pose import HOLISTIC_HAND, import_pose, resample
from trainers.signllm.sentences.reading import open_corpus

BODY = ["LEFT_HIP", "NOSE", "LEFT_SHOULDER", "RIGHT_SHOULDER"]
BODY += ["LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST"]


def _write(path, parts, frames=6, fps=25.0, dims=3, people=1):
    """A file whose point i lies at (i, 10 i, frame), and whose first frame has no point seen."""
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    kinds = [
        PoseHeaderComponent(name, points, [(0, 1)], [(0, 0, 0)], "XYZ"[:dims] + "C")
        for name, points in parts.items()
    ]
    count = sum(map(len, parts.values()))
    data = np.zeros((frames, people, count, dims), dtype=np.float32)
    data[..., 0] = np.arange(count)
    data[..., 1] = 10 * np.arange(count)
    if dims == 3:
        data[..., 2] = np.arange(frames)[:, None, None]
    confidence = np.ones((frames, people, count), dtype=np.float32)
    confidence[0] = 0
    header = PoseHeader(0.2, PoseHeaderDimensions(100, 100, 100), kinds)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Pose(header, NumPyPoseBody(fps, np.ma.masked_array(data), confidence)).write(file)
    path.with_suffix(".txt").write_text("ein Text")
    return path


def _holistic(body=BODY):
    hand = list(reversed(HOLISTIC_HAND))  # names count, not places
    return {
        "RIGHT_HAND_LANDMARKS": hand,
        "FACE_LANDMARKS": ["0", "1"],
        "POSE_LANDMARKS": list(body),
        "LEFT_HAND_LANDMARKS": hand,
        "POSE_WORLD_LANDMARKS": list(body),
    }


def test_joints_are_found_by_name(tmp_path):
    """Whatever their order; the neck is the middle of the shoulders."""
    _write(tmp_path / "src" / "dev" / "a.pose", _holistic())

    summary = import_pose(tmp_path / "src", tmp_path / "out", language="DGS", pixels=True)

    assert summary.clips == {"dev": 1}
    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "val")
    assert corpus.sentences[0].text == "ein Text"
    joints = corpus.poses(0).reshape(6, 50, 3)
    assert np.isnan(joints[0]).all()
    columns = joints[3, :, 0]
    assert columns[:8].tolist() == [24, 25.5, 26, 28, 30, 25, 27, 29]
    assert columns[8:29].tolist() == list(range(51, 30, -1))
    assert columns[29:].tolist() == list(range(20, -1, -1))
    assert (joints[3, :, 2] == 3).all()


def test_files_of_openpose_and_fewer_points(tmp_path):
    """Two dimensions give depth 0; a point that a file leaves out was not seen."""
    from pose_format.utils.openpose import BODY_POINTS, HAND_POINTS

    parts = {"pose_keypoints_2d": BODY_POINTS}
    parts |= {f"hand_{side}_keypoints_2d": HAND_POINTS for side in ("left", "right")}
    _write(tmp_path / "src" / "dev" / "a.pose", parts, dims=2)
    _write(tmp_path / "src" / "dev" / "b.pose", _holistic(BODY[2:]))

    import_pose(tmp_path / "src", tmp_path / "out", language="DGS")

    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "val")
    joints = corpus.poses(0).reshape(6, 50, 3)[2]
    np.testing.assert_allclose(joints[1], 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(joints[2] - joints[5]), 1, rtol=1e-5)
    assert (joints[:, 2] == 0).all()
    assert np.isnan(corpus.poses(1).reshape(6, 50, 3)[2, 0]).all()


def test_another_frame_rate_is_brought_to_ours(tmp_path):
    """On the line between two frames; what is unseen in either stays unseen."""
    _write(tmp_path / "src" / "dev" / "a.pose", _holistic(), frames=12, fps=50.0)
    summary = import_pose(tmp_path / "src", tmp_path / "out", pixels=True)
    assert summary.frames == {"dev": 6}
    stored = np.load(tmp_path / "out/unknown/dev/a/pose.npy")
    assert np.isnan(stored[0]).all()
    assert stored[1:, 2].tolist() == [2, 4, 6, 8, 10]

    ramp = np.arange(6.0)[:, None]
    ramp[2] = np.nan
    halved = resample(ramp, 25, 50)[:, 0]
    assert halved[:3].tolist() == [0, 0.5, 1]
    assert np.isnan(halved[3:6]).all()
    assert halved[6] == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content[:40], "its header is broken"),
        (lambda content: content[:-50], "its header is broken"),
        (lambda _: b"", "its header is broken"),
        (lambda content: content.replace(b"PINKY", b"SMALL"), "lacks 8 of the points"),
        (lambda content: content.replace(b"POSE_LANDMARKS", b"BODY_LANDMARKS"), "neither of hol"),
    ],
)
def test_broken_files_are_named(tmp_path, change, why):
    """Cut off, or with other points."""
    path = _write(tmp_path / "src" / "dev" / "a.pose", _holistic())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(TrainerError, match=why) as caught:
        import_pose(tmp_path / "src", tmp_path / "out")
    assert "a.pose" in caught.value.message


def test_what_cannot_be_imported(tmp_path, monkeypatch):
    """No file, no text, an empty text, and no library to read with."""
    with pytest.raises(TrainerError, match=r"holds no \.pose file"):
        import_pose(tmp_path, tmp_path / "out")
    path = _write(tmp_path / "src" / "dev" / "a.pose", _holistic())
    path.with_suffix(".txt").write_text("")
    with pytest.raises(TrainerError, match=r"a\.txt: the text is empty"):
        import_pose(tmp_path / "src", tmp_path / "out")
    path.with_suffix(".txt").unlink()
    with pytest.raises(TrainerError, match="there is no text for it"):
        import_pose(tmp_path / "src", tmp_path / "out")
    path.with_suffix(".txt").write_text("da")
    with pytest.raises(TrainerError, match="--fps 0 must be from 1 to 1000"):
        import_pose(tmp_path / "src", tmp_path / "out", fps=0.0)
    with pytest.raises(UnusableError, match="it has 1e-09 frames a second"):
        resample(np.zeros((2, 3)), 1e-9, 25)
    monkeypatch.setitem(sys.modules, "pose_format", None)
    with pytest.raises(TrainerError, match="needs the package pose-format") as caught:
        import_pose(tmp_path / "src", tmp_path / "out")
    assert caught.value.hint == "pip install 'gpuops[text]'"


def test_a_flat_folder_is_split_by_name(tmp_path):
    """The same whatever else lies there; what has a split keeps it."""
    for name in "abcde":
        _write(tmp_path / "src" / f"{name}.pose", _holistic())
    flat = import_pose(tmp_path / "src", tmp_path / "flat", val_share=0.4)
    assert flat.clips == {"train": 3, "val": 2}
    _write(tmp_path / "src" / "dev" / "f.pose", _holistic())
    mixed = import_pose(tmp_path / "src", tmp_path / "mixed", val_share=0.4)
    assert mixed.clips == {"train": 3, "val": 2, "dev": 1}
    names = [
        sorted(path.name for path in (tmp_path / out / "unknown" / "val").iterdir())
        for out in ("flat", "mixed")
    ]
    assert names[0] == names[1]
    with pytest.raises(TrainerError, match="split already"):
        import_pose(tmp_path / "src" / "dev", tmp_path / "out", val_share=0.4)
