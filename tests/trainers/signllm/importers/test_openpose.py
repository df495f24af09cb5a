"""The import of frames of OpenPose, as How2Sign has them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.signllm.config import DatasetConfig
from trainers.signllm.importers.openpose import import_openpose, main
from trainers.signllm.sentences.reading import open_corpus

BODY = {0: (680, 200), 1: (680, 350), 2: (580, 350), 3: (550, 540), 4: (520, 410), 5: (780, 350)}


def _person(shift=0.0, confidence=0.9):
    body = np.zeros((25, 3))
    for joint, place in BODY.items():
        body[joint] = *place, confidence
    body[:, 0] += shift * (body[:, 2] > 0)
    hand = np.full((21, 3), (600.0, 420.0, confidence))
    return {
        "pose_keypoints_2d": body.ravel().tolist(),
        "face_keypoints_2d": [0.0] * 210,
        "hand_left_keypoints_2d": [0.0] * 63,
        "hand_right_keypoints_2d": hand.ravel().tolist(),
    }


def _write(folder, frames):
    folder.mkdir(parents=True)
    for number, people in enumerate(frames):
        path = folder / f"{folder.name}_{9 + number:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


@pytest.fixture
def source(tmp_path):
    """Two recordings and the texts of three."""
    source = tmp_path / "how2sign"
    _write(source / "dev" / "json" / "a-rgb_front", [[_person()], [], [_person(50)]])
    _write(source / "dev" / "json" / "b-rgb_front", [[_person(9, 0.1), _person()]])
    (source / "texts").mkdir()
    (source / "texts" / "dev.files").write_text("b-rgb_front\na-rgb_front\nc-rgb_front")
    (source / "texts" / "dev.text").write_text("text b\ntext a\ntext c\n")
    return source


def test_keypoints_become_poses_of_one_measure(source, tmp_path):
    """Neck at the origin, shoulders of width 1, NaN where the confidence is 0 or nobody is."""
    summary = import_openpose(source, tmp_path / "out", language="ASL")

    assert (summary.clips, summary.frames) == ({"dev": 2}, {"dev": 4})
    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "val")
    assert [(one.name, one.text) for one in corpus.sentences] == [
        ("a-rgb_front", "text a"),
        ("b-rgb_front", "text b"),
    ]
    joints = corpus.poses(0).reshape(3, 50, 3)
    np.testing.assert_allclose(joints[0, 2] - joints[0, 5], (-1, 0, 0), atol=1e-6)
    np.testing.assert_allclose(joints[2, 1] - joints[0, 1], (0.25, 0, 0), atol=1e-6)
    np.testing.assert_allclose(joints[0, 0] - joints[0, 1], (0, -0.75, 0), atol=1e-6)
    assert np.isnan(joints[1]).all()
    assert np.isnan(joints[0, 6:29]).all()  # the left elbow, wrist and hand
    assert np.isfinite(joints[0, 29:]).all()
    np.testing.assert_array_equal(corpus.poses(1)[0, :3], np.float32((0, -0.75, 0)))


def test_pixels_are_kept_if_wanted(source, tmp_path):
    """And of two people the one that is seen best is taken."""
    import_openpose(source, tmp_path / "out", language="ASL", pixels=True)
    stored = np.load(tmp_path / "out/ASL/dev/b-rgb_front/pose.npy")
    np.testing.assert_array_equal(stored[0, :3], (680, 200, 0))


def test_a_table_of_texts(source, tmp_path, capsys):
    """How2Sign's own: tabs, and a column SENTENCE_NAME; it may name split and gloss too."""
    table = tmp_path / "how2sign.csv"
    table.write_text(
        "VIDEO_NAME\tSENTENCE_NAME\tSENTENCE\tsplit\tgloss\n"
        "x\ta-rgb_front\tIt\u2019s \u201ca\u201d, here\ttrain\tIT A\n"
    )
    command = [str(source), "--out", str(tmp_path / "out"), "--text", str(table), "--skip-bad"]
    main([*command, "--json"])

    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == {"train": 1}
    assert "there is no text for it" in next(iter(told["skipped"].values()))
    folder = tmp_path / "out/unknown/train/a-rgb_front"
    assert (folder / "text.txt").read_text() == "It\u2019s \u201ca\u201d, here\n"
    assert (folder / "gloss.txt").read_text() == "IT A\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "keypoints.json is damaged: it is not JSON"),
        ('{"people": [{}]}', "keypoints.json is not a frame of OpenPose"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "at least 24 are wanted"),
    ],
)
def test_a_bad_frame_is_named(source, tmp_path, content, why):
    """With its recording."""
    frame = sorted((source / "dev/json/a-rgb_front").iterdir())[1]
    frame.write_text(content)
    with pytest.raises(TrainerError, match=why) as caught:
        import_openpose(source, tmp_path / "out")
    assert frame.name in caught.value.message


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ('a-rgb_front,"it never ends\nb-rgb_front,text b\n', "cannot be read: unexpected end"),
        (f"a-rgb_front,{'x' * 140_000}\n", "cannot be read: field larger than"),
        ("a-rgb_front,one\nx/a-rgb_front,two\n", "line 3 has another text for a-rgb_front"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(source, tmp_path, rows, why):
    """Rather than a text that swallows the lines below it."""
    (tmp_path / "table.csv").write_text(f"name,text\n{rows}")
    with pytest.raises(TrainerError, match=why):
        import_openpose(source, tmp_path / "out", text=tmp_path / "table.csv")


def test_a_text_of_two_lines_in_a_table(source, tmp_path):
    """Its words stay apart."""
    (tmp_path / "table.csv").write_text('name,text\na-rgb_front,"two\nlines"\n')
    import_openpose(source, tmp_path / "out", text=tmp_path / "table.csv", skip_bad=True)
    (text,) = (tmp_path / "out").rglob("text.txt")
    assert text.read_text() == "two lines\n"


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_rate_that_no_recording_has(source, tmp_path, fps):
    """It is refused before anything is read."""
    with pytest.raises(TrainerError, match="must be from 1 to 1000"):
        import_openpose(source, tmp_path / "out", fps=fps)


def test_what_cannot_be_imported(source, tmp_path):
    """Nobody in it, no frames, no split, texts that do not match or cannot be read."""
    texts = source / "texts"
    (texts / "dev.text").write_bytes(b"a\n\xff\nc\n")
    with pytest.raises(TrainerError, match=r"dev\.text line 2: it is not UTF-8"):
        import_openpose(source, tmp_path / "out")
    (texts / "dev.text").write_text("a\n")
    with pytest.raises(TrainerError, match=r"dev\.text has 1 lines, dev\.files has 3"):
        import_openpose(source, tmp_path / "out")
    nobody, table = _write(source / "nobody", [[], []]), texts / "table.csv"
    table.write_text("name,text\nnobody,a text\n")
    with pytest.raises(TrainerError, match="it belongs to no split"):
        import_openpose(nobody, tmp_path / "out", text=table)
    with pytest.raises(TrainerError, match="so there is no measure"):
        import_openpose(nobody, tmp_path / "out", text=table, split="train")
    with pytest.raises(TrainerError, match="no joint was seen"):
        import_openpose(nobody, tmp_path / "out", text=table, split="train", pixels=True)
    table.write_text("recording,text\nnobody,a text\n")
    with pytest.raises(TrainerError, match="heads no column with a name"):
        import_openpose(nobody, tmp_path / "out", text=table)
    table.write_text("name,text\nnobody,\n")
    with pytest.raises(TrainerError, match=r"table\.csv line 2 has no name or an empty text"):
        import_openpose(nobody, tmp_path / "out", text=table)
    with pytest.raises(TrainerError, match="holds no frames of OpenPose"):
        import_openpose(texts, tmp_path / "out")
    with pytest.raises(TrainerError, match=r"there is no .*absent"):
        import_openpose(source, tmp_path / "out", text=tmp_path / "absent")
