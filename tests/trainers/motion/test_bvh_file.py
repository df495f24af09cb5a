"""The reader of BVH files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from motion_data import CHANNELS, HIERARCHY, bvh_of, bvh_text

from trainers.motion.bvh_file import BvhError, read_bvh
from trainers.motion.skeleton import joint_positions


def turn(axis: str, degrees: float) -> np.ndarray:
    """A 4 x 4 rotation, written out."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    m = np.eye(4)
    i, j = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m


def move(x: float, y: float, z: float) -> np.ndarray:
    m = np.eye(4)
    m[:3, 3] = x, y, z
    return m


def by_hand(row: np.ndarray) -> list[np.ndarray]:
    """World positions of the four joints from one line of numbers, joint by joint."""
    root = turn("Z", row[0]) @ turn("X", row[1]) @ turn("Y", row[2])
    hips = root @ move(*row[3:6]) @ turn("Z", row[6]) @ turn("X", row[7]) @ turn("Y", row[8])
    left = hips @ move(row[12], row[14], row[13])
    right = hips @ move(-9, -5, 0)
    return [m[:3, 3] for m in (root, hips, left, right)]


def test_positions_equal_those_by_hand(tmp_path):
    """Every channel of every joint counts, in the order the file gives it."""
    path = tmp_path / "clip.bvh"
    values = np.random.default_rng(0).uniform(-170, 170, (5, CHANNELS))
    path.write_text(bvh_of(values))

    clip = read_bvh(path)
    local, matrices = clip.local_transforms()
    placed = joint_positions(clip.parents, local, matrices)

    expected = np.array([by_hand(row) for row in values.round(6)])
    assert clip.joints == ("Root", "Hips", "Leg_L", "Leg_R")
    assert clip.parents == (-1, 0, 1, 1)
    np.testing.assert_allclose(placed, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("HIERARCHY", "HIERARCHIE", 1, "starts with HIERARCHY"),
        ("CHANNELS 1 Xrotation", "CHANNELS 2 Xrotation", 22, "announces 2 and names 1"),
        ("CHANNELS 1 Xrotation", "CHANNELS 1 Wrotation", 22, "Wrotation is not one of"),
        ("OFFSET 1 90 -3", "OFFSET 1 ninety -3", 8, "not a number"),
        ("OFFSET 1 90 -3", "OFFSET 1 90", 8, "2 values for OFFSET, 3 expected"),
        ("JOINT Leg_R", "JOINT Leg_L", 26, "two joints are called Leg_L"),
        ("Frames: 3", "Frames: 4", 31, "ends after 3 of 4 frames"),
        ("Frames: 3", "Frames: 2", 31, "more frames than the 2"),
        ("Frames: 3", "Frames: 0", 27, "positive integer"),
        ("Frame Time: 0.03", "Frame Time: -0.03", 28, "must be positive"),
        ("MOTION", "}\nMOTION", 26, "out of place"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, old, new, line, sentence):
    """What is wrong with a file is said with the line it stands in."""
    path = tmp_path / "clip.bvh"
    text = bvh_text(3)
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(BvhError, match=sentence) as caught:
        read_bvh(path)
    assert f"clip.bvh, line {line}:" in caught.value.message


@pytest.mark.parametrize(("cell", "sentence"), [("nan", "not finite"), ("1e999", "not finite")])
def test_numbers_that_are_not_finite_are_refused(tmp_path, cell, sentence):
    """NaN never gets in."""
    path = tmp_path / "clip.bvh"
    rows = [["0"] * CHANNELS for _ in range(3)]
    rows[1][4] = cell
    body = "\n".join(" ".join(row) for row in rows)
    path.write_text(f"{HIERARCHY}MOTION\nFrames: 3\nFrame Time: 0.1\n{body}\n")

    with pytest.raises(BvhError, match=f"line 30: frame 2 holds a value that is {sentence}"):
        read_bvh(path)


def test_a_cut_or_binary_file_is_refused(tmp_path):
    """A file that ends too soon, or is no text, says so."""
    path = tmp_path / "clip.bvh"
    path.write_text(bvh_text().split("CHANNELS")[0])
    with pytest.raises(BvhError, match="the file ends where CHANNELS"):
        read_bvh(path)
    path.write_bytes(b"\xff\xfe\x00BVH")
    with pytest.raises(BvhError, match="not a text file"):
        read_bvh(path)
