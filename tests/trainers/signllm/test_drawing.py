"""Signers drawn: on one scale, upright, without the joints that were not seen."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from signers import waving

from trainers.signllm import drawing
from trainers.signllm.drawing import Panel, Scene, Signer, Stage, pose_at, shorten
from trainers.signllm.skeleton import LEFT_HAND, RIGHT_HAND


def scene(*poses, title="good day"):
    panels = tuple(Panel(title=f"panel {n}", poses=one) for n, one in enumerate(poses))
    return Scene(title=title, subtitle="ASL", panels=panels, fps=25.0)


def without(poses, joints):
    poses = poses.reshape(len(poses), -1, 3).copy()
    poses[:, list(joints)] = np.nan
    return poses.reshape(len(poses), -1)


def colours(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    red, _, blue = np.moveaxis(pixels, -1, 0)
    return {"left": (red - blue > 60).sum(), "right": (blue - red > 60).sum()}


def drawn(poses):
    figure = Figure(figsize=(2, 2), facecolor=drawing.PAPER)
    Signer(figure.add_axes((0, 0, 1, 1)), Stage([scene(poses)]), 2).pose(poses[0])
    return colours(figure)


def test_a_hand_that_was_not_seen_is_not_drawn():
    """The other one is; nobody at all is an empty picture."""
    poses = waving(3)
    both = drawn(poses)
    assert min(both.values()) > 50
    right = drawn(without(poses, LEFT_HAND))
    assert right["left"] == 0
    assert right["right"] == both["right"]
    assert drawn(without(poses, range(50))) == {"left": 0, "right": 0}


@pytest.mark.parametrize("up", [1, -1])
def test_the_nose_is_above_the_neck(up):
    """Whichever way y runs in the data."""
    poses = (waving(5).reshape(5, -1, 3) * [1, up, 1]).reshape(5, -1).astype(np.float32)
    places = Stage([scene(poses)]).places(poses[0])
    assert places[0, 1] > places[1, 1]
    assert places[RIGHT_HAND[0], 0] < places[LEFT_HAND[0], 0]


def test_a_joint_misplaced_for_a_moment_does_not_make_all_small():
    """The scale is that of nearly all joints."""
    poses = waving(60)
    usual = Stage([scene(poses)]).half
    poses[7, 14] = 500.0
    assert Stage([scene(poses)]).half == pytest.approx(usual, rel=0.1)


def test_between_two_frames_joints_are_between_them():
    """One that was not seen in a frame stands where the nearest frame has it."""
    poses = np.array([[0.0] * 150, [1.0] * 150], dtype=np.float32)
    assert (pose_at(poses, 0.25) == 0.25).all()
    assert (pose_at(poses, 1.0) == 1.0).all()
    assert (pose_at(poses, 9.0) == 1.0).all()
    poses[1, :3] = np.nan
    assert (pose_at(poses, 0.25)[:3] == 0).all()
    assert np.isnan(pose_at(poses, 0.75)[:3]).all()


def test_generated_beside_real_of_other_lengths(tmp_path):
    """Both panels move, for as long as the longer one; any script, any formula in the title."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.film(
            [scene(waving(5), waving(15), title="a$_{b$ 你好\n\x1b[1m")], tmp_path / "a.gif"
        )
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == (720, 486)
        assert film.n_frames >= 12
        assert film.info["duration"] == 50


def test_a_picture_has_a_row_for_each_signer(tmp_path):
    """Eight moments of each; a sentence of one frame is drawn too."""
    drawing.picture([scene(waving(20), waving(10)), scene(waving(1))], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1550, 740)
        assert len(picture.convert("L").getcolors()) > 20


def test_titles_are_shortened_at_a_word():
    """On one line, without control characters."""
    assert shorten("short", 20) == "short"
    assert shorten("some words that are\ttoo many for it", 20) == "some words that …"
    assert shorten("x" * 50, 20) == f"{'x' * 18} …"
    assert shorten("a\x1b[1m\nb", 20) == "a [1m b"
