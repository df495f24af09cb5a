"""The import of BVH folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
from motion_data import bvh_text, write_bvh

from trainers.engine.errors import TrainerError
from trainers.engine.files import put_in_place
from trainers.motion.clips.clips import open_clips
from trainers.motion.importers.bvh import find_clips, import_bvh, main
from trainers.motion.skeleton import load_skeleton, to_matrices


def test_imports_the_layout(tmp_path):
    """Each clip becomes three arrays; fixed bones and rotations give the positions back."""
    source = write_bvh(tmp_path / "src", {"train": 3, "val": 2})

    summary = import_bvh(source, tmp_path / "out")

    assert summary.clips == {"train": 3, "val": 2}
    assert summary.frames == {"train": 33, "val": 21}
    skeleton = load_skeleton(tmp_path / "out")
    assert skeleton.joints[skeleton.translation_joint] == "Hips"
    assert skeleton.fps == 30
    folder = tmp_path / "out" / "train" / "clip1"
    pose, keypoints, walked = (
        np.load(folder / f"{name}.npy") for name in ("pose", "keypoints", "translation")
    )
    assert (pose.shape, keypoints.shape, walked.shape) == ((11, 12), (11, 4, 3), (11, 3))
    assert pose.dtype == keypoints.dtype == np.float32
    placed = skeleton.positions(to_matrices(pose), walked)
    np.testing.assert_allclose(placed[:, 1:], keypoints[:, 1:], atol=1e-4)
    assert len(open_clips(tmp_path / "out", "train").names) == 3


@pytest.mark.parametrize("trainer", ["rvq", None])
def test_an_import_says_for_which_trainer_it_was_made(tmp_path, monkeypatch, trainer):
    """Several may share an importer; gpuops knows who was asked."""
    if trainer is not None:
        monkeypatch.setenv("GPUOPS_TRAINER", trainer)
    import_bvh(write_bvh(tmp_path / "src", {"train": 1, "val": 1}), tmp_path / "out")

    assert json.loads((tmp_path / "out" / "import.json").read_text())["trainer"] == trainer


def test_a_unit_is_brought_to_centimetres(tmp_path):
    """Metres become centimetres."""
    source = write_bvh(tmp_path / "src", {"train": 1, "val": 1})
    import_bvh(source, tmp_path / "cm")
    import_bvh(source, tmp_path / "m", unit="m")

    in_cm, in_m = (np.load(tmp_path / unit / "val/clip0/keypoints.npy") for unit in ("cm", "m"))
    np.testing.assert_allclose(in_cm * 100, in_m, rtol=1e-5)


def test_a_flat_folder_needs_a_share(tmp_path):
    """Without splits the import says what to do, and a share splits by name, always alike."""
    source = write_bvh(tmp_path / "src", {".": 10})
    with pytest.raises(TrainerError, match="no train/ and val/") as caught:
        find_clips(source)
    assert "--val-share" in caught.value.hint

    once, again = find_clips(source, 0.2), find_clips(source, 0.2)
    assert once == again
    assert (len(once["train"]), len(once["val"])) == (8, 2)
    (source / "another.bvh").write_text(bvh_text())
    more = find_clips(source, 0.2)
    kept = set(once["val"]) & set(more["val"])
    assert len(kept) >= 1


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [({"train": 2}, "both train/ and val/"), ({}, "holds no .bvh file")],
)
def test_missing_splits_are_named(tmp_path, counts, sentence):
    """Half a data set is not imported."""
    (tmp_path / "src").mkdir()
    write_bvh(tmp_path / "src", counts)
    with pytest.raises(TrainerError, match=sentence):
        find_clips(tmp_path / "src")


def test_a_bad_clip_stops_the_import_or_is_skipped(tmp_path, capsys):
    """A bad clip is named with its line; nothing is written unless bad clips may be left out."""
    source = write_bvh(tmp_path / "src", {"train": 2, "val": 1})
    (source / "train" / "bad.bvh").write_text(bvh_text(4).replace("Frames: 4", "Frames: 5"))

    with pytest.raises(TrainerError, match=r"bad.bvh: line 32: the file ends after 4 of 5"):
        import_bvh(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]

    main([str(source), "--out", str(tmp_path / "out"), "--skip-bad", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == {"train": 2, "val": 1}
    assert "ends after 4 of 5" in told["skipped"][str(source / "train" / "bad.bvh")]


def test_clips_of_another_skeleton_or_rate_are_refused(tmp_path):
    """All clips of a data set share joints and frame rate."""
    source = write_bvh(tmp_path / "src", {"train": 1, "val": 1})
    (source / "val" / "fast.bvh").write_text(bvh_text(4, fps=60))
    (source / "val" / "other.bvh").write_text(bvh_text(4).replace("Leg_L", "Bein"))

    with pytest.raises(TrainerError) as caught:
        import_bvh(source, tmp_path / "out")
    assert "60 frames a second, the first clip 30" in caught.value.message
    assert "its joints are not those of the first clip" in caught.value.message


def test_what_stands_there_is_not_overwritten(tmp_path):
    """A folder that is not empty is replaced only with --force, and only if it is an import."""
    source = write_bvh(tmp_path / "src", {"train": 1, "val": 1})
    import_bvh(source, tmp_path / "out")
    with pytest.raises(TrainerError, match="is not empty"):
        import_bvh(source, tmp_path / "out")
    import_bvh(source, tmp_path / "out", force=True)

    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter").write_text("x")
    (precious / "skeleton.json").write_text("{}")  # a data set, but not an imported one
    with pytest.raises(
        TrainerError, match=r"thesis has no import\.json, so it was not made by this command"
    ):
        import_bvh(source, precious, force=True)
    assert (precious / "chapter").read_text() == "x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src", "thesis"]


def test_the_summary_is_shown(tmp_path, capsys):
    """The command ends with clips and frames of each split."""
    source = write_bvh(tmp_path / "src", {"train": 2, "dev": 1})
    assert main([str(source), "--out", str(tmp_path / "deep" / "out")]) == 0
    shown = capsys.readouterr().out
    assert "train" in shown
    assert "dev" in shown
    assert "4 joints, 30 frames a second" in shown


def test_any_case_is_found_and_two_of_a_name_are_told(tmp_path):
    """a/b.bvh and a__b.BVH would be one clip."""
    source = write_bvh(tmp_path / "src", {"train": 1, "val": 1})
    (source / "train" / "a").mkdir()
    for name in ("a/b.bvh", "a__b.BVH"):
        (source / "train" / name).write_text(bvh_text(9))

    with pytest.raises(TrainerError, match="another clip of train is a__b already"):
        import_bvh(source, tmp_path / "out")
    assert import_bvh(source, tmp_path / "out", skip_bad=True).clips == {"train": 2, "val": 1}


def test_what_stood_there_stays_where_it_cannot_be_replaced(tmp_path):
    """The old import is back in its place."""
    old = tmp_path / "out"
    old.mkdir()
    (old / "skeleton.json").write_text("{}")

    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "never built", old, older=True)

    assert (old / "skeleton.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
