"""Small data sets of signed sentences, as their files look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

TEXTS = ("the weather is fine", "möge es schneien", "il pleut à Paris")
GLOSSES = ("WEATHER FINE", "SCHNEE", "PARIS REGEN")
NAMES = ("one", "two", "three")


def poses(frames: int, seed: int = 0) -> np.ndarray:
    """(T, 150): shoulders about 1 apart, nothing at exactly 0."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0.1, 1, (frames, 50, 3))
    joints[:, 2], joints[:, 5] = (-0.5, 0.2, 0.1), (0.5, 0.2, 0.1)
    return joints.reshape(frames, 150)


def skels_line(values: np.ndarray, *, counter: bool = True) -> str:
    """A line of a .skels file."""
    if counter:
        column = np.arange(len(values))[:, None] / len(values)
        values = np.concatenate([values, column], axis=1)
    return " ".join(f"{value:.5f}" for value in values.ravel())


def write_parallel(
    folder: Path, split: str, *, frames: tuple[int, ...] = (4, 5, 6), counter: bool = True
) -> Path:
    """SPLIT.text, SPLIT.gloss, SPLIT.files and SPLIT.skels of three sentences."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [skels_line(poses(count, count), counter=counter) for count in frames]
    for kind, found in {
        "text": TEXTS,
        "gloss": GLOSSES,
        "files": [f"{split}/{name}" for name in NAMES],
        "skels": lines,
    }.items():
        (folder / f"{split}.{kind}").write_text("\n".join(found) + "\n", encoding="utf-8")
    return folder


def converted(values: np.ndarray) -> str:
    """The pose.json of the public converter."""
    frames = [
        {
            "pose_keypoints_2d": row[:24].tolist(),
            "hand_left_keypoints_2d": row[24:87].tolist(),
            "hand_right_keypoints_2d": row[87:].tolist(),
            "face_keypoints_2d": [0.0] * 210,
        }
        for row in values
    ]
    return json.dumps({"poses": frames, "num_frames": len(frames), "original_index": 0}, indent=2)


def write_folder(
    folder: Path,
    values: np.ndarray,
    *,
    text: str = "a text",
    gloss: str = "",
    as_json: bool = False,
) -> Path:
    """One sentence as a folder."""
    folder.mkdir(parents=True)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    if gloss:
        (folder / "gloss.txt").write_text(gloss, encoding="utf-8")
    if as_json:
        (folder / "pose.json").write_text(converted(values))
    else:
        np.save(folder / "pose.npy", values.astype(np.float32))
    return folder
