"""Skeletons side by side: a strip of poses as a picture, a film, drawn by matplotlib.

Every pose is seen from the same side and on the same scale; the view is parallel, so that lengths
can be compared. Shapes: T frames, J joints that are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from trainers.engine.film import (
    DPI,
    GROUND,
    INK,
    PALE,
    PAPER,
    Curve,
    add_axes,
    add_text,
    film_figure,
    film_frames,
    film_writer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from trainers.motion.skeleton import Skeleton

POSES = 8  # of a clip in a picture
AHEAD, TILT = 35.0, 12.0  # degrees: how far aside of the body's front we stand, and how far above
TILE = 2.6  # inches that a body is high
LEFT, RIGHT, MIDDLE, GHOST = "#e0803a", "#3a7fc4", "#55555f", "#c9c6c0"
TITLES = ("original", "reconstruction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A clip and what came back of it: joint positions (T, J, 3), y up."""

    name: str
    original: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    skeleton: Skeleton

    @property
    def errors(self) -> NDArray[np.float32]:
        """(T,) mean distance of the joints."""
        gaps = np.linalg.norm(self.reconstruction - self.original, axis=-1)
        return np.asarray(gaps.mean(axis=-1))

    @property
    def title(self) -> str:
        """The clip and its MPJPE."""
        return f"{self.name}   ·   MPJPE {self.errors.mean():.2f} {self.skeleton.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bones:
    """Which of the joints that are drawn are joined, and how."""

    ends: NDArray[np.int64]  # (bones, 2)
    colours: list[str]
    widths: list[float]
    sides: NDArray[np.int64]  # (pairs, 2) a joint of the left, and its counterpart
    heads: list[int]


def bones_of(skeleton: Skeleton) -> Bones:
    """Lines from each joint to its parent, among the joints that move; sides by colour."""
    place = {joint: i for i, joint in enumerate(skeleton.moving)}
    pairs = [(j, skeleton.parents[j]) for j in skeleton.moving if skeleton.parents[j] in place]
    other = skeleton.mirror.joints if skeleton.mirror else tuple(range(len(skeleton)))
    names = skeleton.joints
    left = [j for j in skeleton.moving if _is_left(names[j], names[other[j]])]
    colours = dict.fromkeys(left, LEFT) | {other[j]: RIGHT for j in left}
    lengths = np.linalg.norm(skeleton.offsets, axis=1)
    longest = lengths[[j for j, _ in pairs]].max(initial=1e-9)
    return Bones(
        ends=np.array([(place[a], place[b]) for a, b in pairs]).reshape(-1, 2),
        colours=[colours.get(j, MIDDLE) for j, _ in pairs],
        widths=[1.0 + 2.5 * min(1.0, 2 * float(lengths[j] / longest)) for j, _ in pairs],
        sides=np.array([(place[j], place[other[j]]) for j in left]).reshape(-1, 2),
        heads=[place[j] for j in skeleton.moving if names[j].lower() == "head"],
    )


def _is_left(name: str, other: str) -> bool:
    """Whether two names part at an L: Hand_L and Hand_R, LeftHand and RightHand."""
    parting = [a for a, b in zip(name, other, strict=False) if a != b]
    return bool(parting) and parting[0] in "lL"


class Stage:
    """Where all poses of some clips are seen from, the ground, and the limits they fit into."""

    def __init__(self, pairs: Sequence[Pair], bones: Bones) -> None:
        self.bones = bones
        self._turn = _front(pairs[0].original, bones) + np.deg2rad(AHEAD)
        self._floor = min(float(pair.original[..., 1].min()) for pair in pairs)
        places = [p for pair in pairs for p in (pair.original, pair.reconstruction)]
        reach = max(float(np.abs(each[..., [0, 2]]).max()) for each in places)
        size = max(float(np.ptp(each[..., 1])) for each in places)
        self._radius, self._head = 0.85 * max(reach, 0.1 * size), 0.045 * size
        seen = [self._ring(1.0), *(self._seen(each).reshape(-1, 2) for each in places)]
        self.low = np.concatenate(seen).min(axis=0) - self._head
        self.high = np.concatenate(seen).max(axis=0) + self._head

    @property
    def width(self) -> float:
        """Inches of a tile."""
        width, height = self.high - self.low
        return TILE * float(width / height)

    def _seen(self, places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(..., 3) as we see it: (..., 2), to the right and up."""
        x, y, z = np.moveaxis(np.asarray(places, dtype=np.float64), -1, 0)
        cos, sin, tilt = np.cos(self._turn), np.sin(self._turn), np.deg2rad(TILT)
        right, away = cos * x - sin * z, -sin * x - cos * z
        return np.stack([right, np.cos(tilt) * y + np.sin(tilt) * away], axis=-1)

    def _ring(self, share: float) -> NDArray[np.float64]:
        angle = np.linspace(0, 2 * np.pi, 97)
        disc = np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], axis=-1)
        return self._seen(np.array([0.0, self._floor, 0.0]) + share * self._radius * disc)

    def set(self, axes: Axes) -> None:
        """Draw the ground."""
        axes.set_xlim(self.low[0], self.high[0])
        axes.set_ylim(self.low[1], self.high[1])
        axes.set_aspect("equal")
        axes.axis("off")
        axes.fill(*self._ring(1.0).T, color=GROUND, alpha=0.6, linewidth=0, zorder=0)
        for share in (1 / 3, 2 / 3):
            axes.plot(*self._ring(share).T, color=PAPER, linewidth=1.0, zorder=1)

    def lines(self, places: NDArray[np.float32]) -> NDArray[np.float64]:
        """(bones, 2, 2) of a pose (J, 3)."""
        return self._seen(places)[self.bones.ends]

    def shadow(self, places: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same, fallen onto the ground."""
        return self.lines(np.where([False, True, False], self._floor, places))

    def heads(self, places: NDArray[np.float32]) -> list[Circle]:
        """A disc in the place of each head."""
        return [Circle(at, self._head) for at in self._seen(places)[self.bones.heads]]


def _front(places: NDArray[np.float32], bones: Bones) -> float:
    """Radians about y from +z to where a body (T, J, 3) looks most of the time."""
    left, right = bones.sides.T
    x, _, z = (places[:, left] - places[:, right]).mean(axis=(0, 1)) if len(left) else (1, 0, 0)
    return float(np.arctan2(-z, x))


class Figurine:
    """A skeleton on a stage, which can take another pose; a ghost shows what it should be."""

    def __init__(self, axes: Axes, stage: Stage) -> None:
        bones = stage.bones
        self._stage = stage
        self._shadow = _lines(axes, INK, 2.5, 2, alpha=0.08)
        self._ghost = _lines(axes, GHOST, 1.6, 3)
        self._lines = _lines(axes, bones.colours, bones.widths, 4)
        self._head = PatchCollection([], facecolor=PAPER, edgecolor=MIDDLE, linewidth=2, zorder=5)
        axes.add_collection(self._head, autolim=False)

    def pose(self, places: NDArray[np.float32], ghost: NDArray[np.float32] | None = None) -> None:
        """Take a pose (J, 3)."""
        stage = self._stage
        self._lines.set_segments(list(stage.lines(places)))
        self._shadow.set_segments(list(stage.shadow(places)))
        self._head.set_paths(stage.heads(places))
        if ghost is not None:
            self._ghost.set_segments(list(stage.lines(ghost)))


def _lines(axes: Axes, colours: Any, widths: Any, order: int, **more: Any) -> LineCollection:
    more |= {"colors": colours, "linewidths": widths, "capstyle": "round", "zorder": order}
    drawn = LineCollection([], **more)
    axes.add_collection(drawn, autolim=False)
    return drawn


def picture(pairs: Sequence[Pair], path: Path) -> None:
    """Write a PNG: of each clip a row of poses, and below them what came back."""
    stage = Stage(pairs, bones_of(pairs[0].skeleton))
    head, edge, line = 0.45, 0.35, 0.22
    size = (edge + POSES * stage.width, len(pairs) * (head + 2 * TILE + line))
    figure = Figure(figsize=size, facecolor=PAPER)
    for number, pair in enumerate(pairs):
        top = number * (head + 2 * TILE + line)
        add_text(figure, 0.15, top + 0.25, pair.title, va="center", fontsize=12)
        frames = np.linspace(0, len(pair.errors) - 1, POSES).round().astype(int)
        for row, title in enumerate(TITLES):
            y = top + head + row * (TILE + line)
            middle = y + TILE / 2
            add_text(figure, 0.2, middle, title, rotation=90, ha="center", va="center", fontsize=10)
            for column, frame in enumerate(frames):
                axes = add_axes(figure, edge + column * stage.width, y, stage.width, TILE)
                stage.set(axes)
                poses = [pair.reconstruction[frame], pair.original[frame]]
                Figurine(axes, stage).pose(*poses[0 if row else 1 :])
        for column, frame in enumerate(frames):
            seconds, error = frame / pair.skeleton.fps, pair.errors[frame]
            label = f"{seconds:.1f} s · {error:.1f} {pair.skeleton.unit}"
            x = edge + (column + 0.5) * stage.width
            add_text(
                figure, x, top + head + TILE + line / 2, label, ha="center", va="center",
                color=PALE, fontsize=9,
            )  # fmt: skip
    figure.savefig(path, dpi=DPI)


def film(pairs: Sequence[Pair], path: Path, seconds: float) -> None:
    """Write a GIF or MP4: clip after clip, at their own pace, with the error as a curve."""
    stage = Stage(pairs, bones_of(pairs[0].skeleton))
    head, below = 0.6, 1.0
    wide = max(stage.width, TILE)
    figure = film_figure(2 * wide, 1.3 * TILE + head + below)
    figurines = []
    for column, title in enumerate(TITLES):
        axes = add_axes(figure, column * wide, head, wide, 1.3 * TILE)
        stage.set(axes)
        middle = (column + 0.5) * wide
        add_text(figure, middle, 0.5, title, ha="center", va="center", color=PALE, fontsize=10)
        figurines.append(Figurine(axes, stage))
    heading = add_text(figure, wide, 0.22, "", ha="center", va="center", fontsize=11)
    highest = max(float(pair.errors.max()) for pair in pairs)
    below_both = add_axes(figure, 0.3, head + 1.3 * TILE + 0.1, 2 * wide - 0.6, 0.6)
    curve = Curve(below_both, "error", highest)
    writer = film_writer(path)
    with writer.saving(figure, str(path), dpi=DPI):
        for pair in pairs:
            heading.set_text(pair.title)
            curve.show(pair.errors, pair.skeleton.fps, pair.skeleton.unit)
            for frame in film_frames(len(pair.errors), pair.skeleton.fps, seconds):
                figurines[0].pose(pair.original[frame])
                figurines[1].pose(pair.reconstruction[frame], ghost=pair.original[frame])
                curve.point(frame)
                writer.grab_frame()
