"""Signers as stick figures with finely drawn hands: films and pictures by matplotlib.

A signer is seen from the front, as the camera saw them: their right hand is on our left. Joints
that were not seen are left out. All poses of a film are drawn on one scale.

Shapes: T frames, J = 50 joints, V = 150 values.
"""

from __future__ import annotations

import textwrap
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from trainers.engine.film import (
    ACCENT,
    DPI,
    FILM_FPS,
    GROUND,
    PALE,
    PAPER,
    add_axes,
    add_text,
    film_figure,
    film_writer,
)
from trainers.signllm.skeleton import BONES, COUNT, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Poses = NDArray[np.float32]

WIDE, HIGH = 3.6, 3.6  # inches of a signer in a film
HEAD, FOOT, EDGE = 0.85, 0.4, 0.3
TILE, MOMENTS = 1.9, 8  # of a picture: inches of a signer, and poses in a row
PAUSE_S = 0.4  # at the end of a sentence
NOSE, NECK, SHOULDERS = 0, 1, (2, 5)
SKIN, CLOTH, SLEEVE = "#ead9c6", "#dcdbe5", "#b9b7c9"
LEFT = ("#f2b98a", "#eda267", "#e58b48", "#d5742f", "#b85f22")  # thumb to little finger
RIGHT = ("#8fbbe8", "#6aa3de", "#4a8ad0", "#3571b8", "#285a97")
ARMS = tuple(bone for bone in BONES if bone[1] in (3, 4, 6, 7))
WRISTS = tuple(bone for bone in BONES if bone in ((7, LEFT_HAND[0]), (4, RIGHT_HAND[0])))
FINGERS = tuple(bone for bone in BONES if bone[0] >= LEFT_HAND[0])
PALM = (0, 1, 5, 9, 13, 17)  # joints of a hand around its palm


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One signer: poses (T, V), NaN where a joint was not seen."""

    title: str
    poses: Poses


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One sentence, by one signer or by several side by side."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    fps: float

    @property
    def seconds(self) -> float:
        """Of the longest of them."""
        return max(len(panel.poses) for panel in self.panels) / self.fps


class Stage:
    """The part of the plane that all signers of some scenes move in, and which way is up."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        joints = np.concatenate(
            [panel.poses.reshape(-1, COUNT, 3) for scene in scenes for panel in scene.panels]
        )[..., :2].astype(np.float64)
        nose_over_neck = _median(joints[:, NOSE, 1] - joints[:, NECK, 1], -1.0)
        self._up = np.array([1.0, 1.0 if nose_over_neck > 0 else -1.0])
        seen = (joints * self._up)[np.isfinite(joints).all(axis=-1)]
        # A joint that was misplaced for a moment must not make everybody small.
        low, high = np.quantile(seen, [0.002, 0.998], axis=0) if len(seen) else ([-1, -1], [1, 1])
        across = joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]]
        self.shoulders = _median(np.linalg.norm(across, axis=-1), 0.4 * float(np.ptp([low, high])))
        low, high = np.asarray(low, float), np.asarray(high, float)
        high[1] += 0.5 * self.shoulders  # the nose is not the top of the head
        self.middle = (low + high) / 2
        self.half = max(float((high - low).max()) / 2, 0.8 * self.shoulders, 1e-6) * 1.08

    def places(self, pose: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(V,) -> (J, 2) as we see them: to the right and up."""
        return np.asarray(pose.reshape(COUNT, 3)[:, :2] * self._up, dtype=np.float64)


class Signer:
    """A stick figure on a stage, which can take another pose."""

    def __init__(self, axes: Axes, stage: Stage, inches: float) -> None:
        axes.axis("off")
        (left, below), (right, above) = stage.middle - stage.half, stage.middle + stage.half
        axes.set_xlim(left, right)
        axes.set_ylim(below, above)
        self._stage = stage
        unit = 72 * inches / (2 * stage.half) * stage.shoulders  # points of a shoulder width
        finger, arm = min(3.2, 0.032 * unit), 0.17 * unit
        self._torso = _shapes(axes, CLOTH, 1, arm)
        self._head = _shapes(axes, SKIN, 2, finger)
        self._arms = [
            _lines(axes, colour, width, 3)
            for colour, width in ((PAPER, arm + 2 * finger), (SLEEVE, arm))
        ]
        self._wrists = _lines(axes, SKIN, 0.6 * arm, 3.5)
        self._palms = PolyCollection([], facecolors=[LEFT[0], RIGHT[0]], alpha=0.45, zorder=4)
        axes.add_collection(self._palms, autolim=False)
        colours = [
            shade for hand in (LEFT, RIGHT) for shade in hand for _ in range(len(FINGERS) // 10)
        ]
        self._fingers = [
            _lines(axes, shade, width, order)
            for shade, width, order in ((PAPER, 2 * finger, 5), (colours, finger, 6))
        ]

    def pose(self, pose: NDArray[np.floating[Any]]) -> None:
        """Take a pose (V,)."""
        at = self._stage.places(pose)
        self._torso.set_verts(_seen([_torso(at, self._stage.shoulders)]))
        self._head.set_verts(_seen([_neck(at), _head(at, self._stage.shoulders)]))
        for lines in self._arms:  # an arm is one line, bent at the elbow
            lines.set_segments([at[[2, 3, 4]], at[[5, 6, 7]]])
        self._wrists.set_segments([at[list(bone)] for bone in WRISTS])
        palms = [at[[hand[joint] for joint in PALM]] for hand in (LEFT_HAND, RIGHT_HAND)]
        self._palms.set_verts(
            [palm if np.isfinite(palm).all() else np.zeros((0, 2)) for palm in palms]
        )
        for lines in self._fingers:
            lines.set_segments([at[list(bone)] for bone in FINGERS])


def film(scenes: Sequence[Scene], path: Path) -> None:
    """Write a GIF or MP4: sentence after sentence, at their own pace.

    Raises:
        TrainerError: there is no ffmpeg, which .mp4 needs.
    """
    stage = Stage(scenes)
    columns = max(len(scene.panels) for scene in scenes)
    figure = film_figure(columns * WIDE, HEAD + HIGH + FOOT)
    title = add_text(figure, EDGE, 0.3, "", fontsize=13, va="center")
    subtitle = add_text(figure, EDGE, 0.62, "", fontsize=9, va="center", color=PALE)
    signers, bars = [], []
    for column in range(columns):
        signers.append(Signer(add_axes(figure, column * WIDE, HEAD, WIDE, HIGH), stage, WIDE))
        bars.append(_Bar(figure, column * WIDE + EDGE, HEAD + HIGH + 0.12, WIDE - 2 * EDGE))
    writer = film_writer(path)
    with _any_script(), writer.saving(figure, str(path), DPI):
        for scene in scenes:
            title.set_text(shorten(scene.title, columns * 38))
            subtitle.set_text(shorten(scene.subtitle, columns * 55))
            for number in range(max(1, round((scene.seconds + PAUSE_S) * FILM_FPS))):
                for panel, signer, bar in zip(scene.panels, signers, bars, strict=False):
                    end = (len(panel.poses) - 1) / scene.fps
                    seconds = min(number / FILM_FPS, end)
                    signer.pose(pose_at(panel.poses, seconds * scene.fps))
                    bar.show(panel.title, seconds / end if end else 1.0)
                writer.grab_frame()


def picture(scenes: Sequence[Scene], path: Path) -> None:
    """Write a PNG: of each signer of each sentence a row of poses."""
    stage = Stage(scenes)
    rows = [len(scene.panels) for scene in scenes]
    high = HEAD * len(scenes) + TILE * sum(rows)
    figure = Figure(figsize=(EDGE + MOMENTS * TILE, high), facecolor=PAPER, dpi=DPI)
    top = 0.0
    for scene in scenes:
        add_text(figure, EDGE, top + 0.3, shorten(scene.title, 130), fontsize=13, va="center")
        add_text(
            figure, EDGE, top + 0.62, shorten(scene.subtitle, 180), fontsize=9, va="center",
            color=PALE,
        )  # fmt: skip
        top += HEAD
        for panel in scene.panels:
            add_text(
                figure, EDGE / 2, top + TILE / 2, panel.title, fontsize=9, rotation=90,
                ha="center", va="center", color=PALE,
            )  # fmt: skip
            for column, place in enumerate(np.linspace(0, len(panel.poses) - 1, MOMENTS)):
                axes = add_axes(figure, EDGE + column * TILE, top, TILE, TILE)
                Signer(axes, stage, TILE).pose(panel.poses[round(place)])
            top += TILE
    with _any_script():
        figure.savefig(path, dpi=DPI)


def pose_at(poses: Poses, place: float) -> Poses:
    """Return the pose (V,) between two frames; a joint that one of them lacks is the other's."""
    first = min(int(place), len(poses) - 1)
    before, after = poses[first], poses[min(first + 1, len(poses) - 1)]
    share = np.float32(place - first)
    between = before + share * (after - before)
    nearest = after if share > 0.5 else before
    return np.asarray(np.where(np.isfinite(between), between, nearest))


def shorten(text: str, width: int) -> str:
    """Return a text on one line, cut at a word if it is longer than ``width`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    cut = textwrap.shorten(line, width, placeholder=" …")
    return cut if len(line) <= width or len(cut) > width / 2 else f"{line[: width - 2]} …"


class _Bar:
    """What is shown, and how far it has come; in inches from the left and from above."""

    def __init__(self, figure: Figure, x: float, y: float, width: float) -> None:
        wide, high = figure.get_size_inches()
        self._ends = (x / wide, (x + width) / wide)
        self._title = add_text(figure, x, y + 0.13, "", fontsize=8, color=PALE, va="center")
        ground, self._done = (
            Line2D(
                self._ends, 2 * [1 - y / high], color=colour, linewidth=2,
                solid_capstyle="round", transform=figure.transFigure,
            )
            for colour in (GROUND, ACCENT)
        )  # fmt: skip
        for line in (ground, self._done):
            figure.add_artist(line)

    def show(self, title: str, share: float) -> None:
        start, end = self._ends
        self._title.set_text(title)
        self._done.set_xdata([start, start + share * (end - start)])


def _lines(axes: Axes, colours: Any, width: float, order: float) -> LineCollection:
    drawn = LineCollection(
        [], colors=colours, linewidths=width, capstyle="round", joinstyle="round", zorder=order
    )
    axes.add_collection(drawn, autolim=False)
    return drawn


def _shapes(axes: Axes, colour: str, order: float, rounding: float) -> PolyCollection:
    drawn = PolyCollection(
        [], facecolors=colour, edgecolors=colour, linewidths=rounding, joinstyle="round",
        zorder=order,
    )  # fmt: skip
    axes.add_collection(drawn, autolim=False)
    return drawn


def _seen(shapes: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    return [shape for shape in shapes if np.isfinite(shape).all()]


def _torso(at: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """A body below the shoulders, which no joint describes: it only says where the hands are."""
    right, left = at[list(SHOULDERS)]
    down, across = np.array([0.0, -width]), left - right
    waist = (right + left) / 2 + 1.75 * down
    return np.array([right, left, waist + 0.36 * across, waist - 0.36 * across])


def _neck(at: NDArray[np.float64]) -> NDArray[np.float64]:
    nose, neck = at[NOSE], at[NECK]
    aside = 0.22 * (nose - neck)[::-1] * np.array([1.0, -1.0])
    return np.array([neck - 1.2 * aside, nose - aside, nose + aside, neck + 1.2 * aside])


def _head(at: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 49)
    oval = np.stack([0.29 * np.cos(angle), 0.06 + 0.37 * np.sin(angle)], axis=-1)
    return np.asarray(at[NOSE] + width * oval)


def _median(values: NDArray[np.floating[Any]], fallback: float) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if len(there) else fallback


@contextmanager
def _any_script() -> Iterator[None]:
    """Inside, characters that the font lacks are boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
