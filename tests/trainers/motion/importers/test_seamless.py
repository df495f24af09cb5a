"""The import of Seamless Interaction's .npz files."""

from __future__ import annotations

import io
import json
import os
import resource
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.motion.clips.clips import open_clips
from trainers.motion.importers import seamless
from trainers.motion.importers.seamless import import_seamless, main, spans

NAME = "V00_S0809_I00000582_P{:04d}"


def arrays(frames=40, seed=0):
    """What the release's files hold of a body, and a little of the rest."""
    rng = np.random.default_rng(seed)
    return {
        "smplh:body_pose": rng.normal(size=(frames, 21, 3)).astype(np.float32),
        "smplh:global_orient": rng.normal(size=(frames, 3)).astype(np.float32),
        "smplh:left_hand_pose": rng.normal(size=(frames, 15, 3)).astype(np.float32),
        "smplh:right_hand_pose": rng.normal(size=(frames, 15, 3)).astype(np.float32),
        "smplh:translation": rng.normal(size=(frames, 3)).astype(np.float32),
        "smplh:is_valid": np.ones(frames, bool),
        "boxes_and_keypoints:keypoints": rng.normal(size=(frames, 133, 3)).astype(np.float32),
        "movement:emotion_scores": np.zeros((frames, 8), np.float32),
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(source, place="improvised/train/0000/0005", *, number=947, compress=True, **values):
    folder = source / place
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME.format(number)}.npz"
    (np.savez_compressed if compress else np.savez)(path, **(values or arrays()))
    return path


@pytest.fixture(name="source")
def _source(tmp_path):
    source = tmp_path / "release"
    write(source, number=1)
    write(source, "naturalistic/train/0000/0001", number=2, compress=False)
    write(source, "improvised/dev/0000/0001", number=3)
    return source


def test_imports_the_layout(source, tmp_path):
    """Orientation, body, left hand, right hand: 156 values, in the order of the model's joints."""
    summary = import_seamless(source, tmp_path / "out")

    assert summary.clips == {"train": 2, "dev": 1}
    clips = open_clips(tmp_path / "out", "train")
    assert clips.names == (NAME.format(1), NAME.format(2))
    there = arrays()
    wanted = np.concatenate(
        [there[f"smplh:{part}"].reshape(40, -1) for part in seamless.PARTS], axis=1
    )
    np.testing.assert_array_equal(clips.poses[0], wanted)
    assert clips.poses[0].shape == (40, 156)
    folder = tmp_path / "out" / "train" / NAME.format(1)
    np.testing.assert_array_equal(np.load(folder / "translation.npy"), there["smplh:translation"])
    about = json.loads((folder / "clip.json").read_text())
    assert about["source"] == f"improvised/train/0000/0005/{NAME.format(1)}.npz"
    assert (about["fps"], about["first_frame"]) == (30.0, 0)
    assert names(folder) == ["clip.json", "pose.npy", "translation.npy"]


def test_clips_are_cut_where_a_body_is_not_valid(source, tmp_path):
    """Each span is a clip of its own, by its first frame; short ones are left out and counted."""
    values = arrays()
    values["smplh:is_valid"][[0, 20, 25]] = False
    values["smplh:body_pose"][39, 3, 1] = np.nan
    write(source, number=4, **values)
    summary = import_seamless(source, tmp_path / "out", min_frames=10)

    clips = open_clips(tmp_path / "out", "train")
    assert clips.names[2:] == (f"{NAME.format(4)}_000001", f"{NAME.format(4)}_000026")
    assert [len(pose) for pose in clips.poses] == [40, 40, 19, 13]
    np.testing.assert_array_equal(clips.poses[3][0, :3], values["smplh:global_orient"][26])
    assert summary.left_out == {"not valid": 3, "not finite": 1, "in spans of less than 10": 4}


def test_spans():
    """Runs of valid frames."""
    assert spans(np.array([1, 1, 0, 1, 0, 0, 1], bool)) == [(0, 2), (3, 4), (6, 7)]
    assert spans(np.zeros(3, bool)) == []


@pytest.mark.parametrize("spelling", ["{}/{}", "{}.{}", "{1}"])
def test_other_spellings_are_read(tmp_path, spelling):
    """Folders of the archive, dots, bare names; flat frames as well."""
    values = {
        spelling.format(*name.split(":")): array.reshape(len(array), -1)
        for name, array in arrays().items()
        if name.startswith("smplh")
    }
    file = io.BytesIO()
    np.savez(file, **{name.replace("/", "_"): array for name, array in values.items()})
    path = tmp_path / "release" / "train" / "one.npz"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(file) as flat, zipfile.ZipFile(path, "w") as archive:
        for name in values:
            archive.writestr(f"{name}.npy", flat.read(f"{name.replace('/', '_')}.npy"))
    assert import_seamless(tmp_path / "release", tmp_path / "out").clips == {"train": 1}


def test_a_part_of_the_release_is_enough(source, tmp_path):
    """A style's folder, or a split's."""
    assert import_seamless(source / "improvised", tmp_path / "a").clips == {"train": 1, "dev": 1}
    assert import_seamless(source / "improvised" / "train", tmp_path / "b").clips == {"train": 1}
    with pytest.raises(TrainerError, match="lies in no split"):
        import_seamless(source / "improvised" / "train" / "0000", tmp_path / "c")
    with pytest.raises(TrainerError, match=r"holds no \.npz file"):
        import_seamless(tmp_path / "a", tmp_path / "c")


def test_the_folder_that_is_named_decides_last(source, tmp_path):
    """Where splits lie below it, its own name is no split: else dev would be trained on."""
    source.rename(tmp_path / "train")
    summary = import_seamless(tmp_path / "train", tmp_path / "out")
    assert summary.clips == {"train": 2, "dev": 1}


def test_the_folder_that_one_stands_in_has_a_name(source, tmp_path, monkeypatch):
    """A dot means the split that it is."""
    monkeypatch.chdir(source / "improvised" / "dev")
    assert import_seamless(Path(), tmp_path / "out").clips == {"dev": 1}


def test_keypoints_come_along_where_asked_for(source, tmp_path):
    """Training does not need them, and they are two and a half times as large."""
    main([str(source), "--out", str(tmp_path / "out"), "--keypoints"])
    keypoints = np.load(tmp_path / "out" / "dev" / NAME.format(3) / "keypoints.npy")
    assert keypoints.shape == (40, 399)


class Runs:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def bad(kind, tmp_path):
    """What a file may hold instead."""
    values = arrays()
    if kind == "pickled":
        return {"smplh": np.array(Runs(tmp_path / "made"), dtype=object)}
    if kind == "pickled part":
        return values | {"smplh:body_pose": np.array([Runs(tmp_path / "made")], dtype=object)}
    if kind == "no hand":
        del values["smplh:left_hand_pose"]
    if kind == "other joints":
        values["smplh:body_pose"] = np.zeros((40, 23, 3), np.float32)
    if kind == "other frames":
        values["smplh:translation"] = np.zeros((39, 3), np.float32)
    if kind == "no frames":
        values = {name: array[:0] for name, array in values.items()}
    return values


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("pickled", "smplh: it holds pickled objects, which are never loaded"),
        ("pickled part", "smplh:body_pose: it holds pickled objects, which are never loaded"),
        ("no hand", "it has no smplh:left_hand_pose"),
        ("other joints", r"smplh:body_pose has shape \(40, 23, 3\), 63 values a frame are wanted"),
        ("other frames", "its arrays differ in frames: 40 of global_orient, .* 39 of translation"),
        ("no frames", r"has shape \(0, 3\)"),
    ],
)
def test_a_bad_file_stops_the_import_or_is_skipped(source, tmp_path, capsys, kind, sentence):
    """It is named with the reason; nothing is unpickled, and nothing is left behind."""
    path = write(source, number=9, **bad(kind, tmp_path))
    with pytest.raises(TrainerError, match=sentence) as caught:
        import_seamless(source, tmp_path / "out")
    assert str(path) in caught.value.message
    assert ["release"] == names(tmp_path)
    assert 0 == main([str(source), "--out", str(tmp_path / "out"), "--skip-bad"])
    assert "skipped" in capsys.readouterr().out
    assert len(open_clips(tmp_path / "out", "train").names) == 2


@pytest.mark.parametrize("keep", [0, 100, -10, 4000])
def test_a_file_that_is_cut_off_is_refused(source, tmp_path, keep):
    """Wherever it ends."""
    path = write(source, number=9)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainerError, match="is not an archive, or is cut off"):
        import_seamless(source, tmp_path / "out")


def test_a_head_that_claims_too_much_is_refused(source, tmp_path):
    """Before anything of that size is allocated."""
    path = write(source, number=9)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    part = members["smplh:body_pose.npy"]
    members["smplh:body_pose.npy"] = part.replace(b"(40, 21, 3), }      ", b"(4000000000, 63), } ")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(TrainerError, match="is cut off: 10,208 of 1,008,000,000,128 bytes"):
        import_seamless(source, tmp_path / "out")


def test_what_stands_there_is_not_overwritten(source, tmp_path):
    """An earlier import is replaced with --force, other folders never."""
    import_seamless(source, tmp_path / "out")
    with pytest.raises(TrainerError, match="is not empty"):
        import_seamless(source, tmp_path / "out")
    import_seamless(source, tmp_path / "out", force=True)
    with pytest.raises(TrainerError, match="so it was not made by this command"):
        import_seamless(source, source, force=True)
    assert ["out", "release"] == names(tmp_path)


def test_of_two_imports_at_once_one_is_told(source, tmp_path, monkeypatch):
    """The first to end has the folder, also of two with one pid; it stays whole, alone."""
    both = threading.Barrier(2)
    told = []

    def read(path, **given):
        both.wait(30)
        return original(path, **given)

    def run():
        try:
            import_seamless(source, tmp_path / "out")
        except TrainerError as error:
            told.append(error.message)

    original = seamless.read
    monkeypatch.setattr(seamless, "read", read)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [f"{tmp_path}/out was filled meanwhile"] == told
    assert len(open_clips(tmp_path / "out", "train").names) == 2
    assert ["out", "release"] == names(tmp_path)


def test_a_full_disk_is_told_and_leaves_nothing(source, tmp_path):
    """One sentence, no half clip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(TrainerError, match="out cannot be written: File too large"):
            import_seamless(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ["release"] == names(tmp_path)


def test_the_summary_is_shown(source, tmp_path, capsys):
    """Clips, frames and minutes of each split, and what was left out."""
    assert 0 == main([str(source), "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "train" in shown
    assert "of 3 files" in shown
    assert "frames left out: none" in shown
