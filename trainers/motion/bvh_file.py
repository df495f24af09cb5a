"""A strict reader of BVH motion capture files: numbers as they stand, faults by line.

Why not a library: the ones that exist refuse position channels below the root, or read them and
accept a file whose frames are missing, short or not numbers.

Shapes: T frames, J joints, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from trainers.engine.errors import TrainerError
from trainers.engine.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

AXES = {"X": 0, "Y": 1, "Z": 2}
CHANNELS = frozenset(f"{axis}{kind}" for axis in AXES for kind in ("position", "rotation"))


class BvhError(TrainerError):
    """A BVH file that cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BvhClip:
    """One BVH file, in the file's own units and joint order."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    """Index of each joint's parent, -1 for the root; parents come before their children."""
    offsets: NDArray[np.float64]  # (J, 3) the OFFSET lines
    channels: tuple[tuple[str, ...], ...]
    frame_time_s: float
    values: NDArray[np.float64]  # (T, C) the MOTION lines: degrees and length units

    def local_transforms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each joint in its parent's frame: positions (T, J, 3), rotation matrices (T, J, 3, 3).

        A position channel replaces that coordinate of the OFFSET. Rotation channels apply in the
        order written, about the moving axes: "Z X Y" is Rz @ Rx @ Ry.
        """
        frames = len(self.values)
        positions = np.tile(self.offsets, (frames, 1, 1))
        matrices = np.tile(np.eye(3), (frames, len(self.joints), 1, 1))
        columns = iter(self.values.T)
        for joint, names in enumerate(self.channels):
            values = dict(zip(names, columns, strict=False))
            for name, column in values.items():
                if name.endswith("position"):
                    positions[:, joint, AXES[name[0]]] = column
            turns = {name[0]: column for name, column in values.items() if name[1:] == "rotation"}
            if turns:
                degrees = np.stack(list(turns.values()), axis=1)
                turned = Rotation.from_euler("".join(turns), degrees, degrees=True)
                matrices[:, joint] = turned.as_matrix()
        return positions, matrices


class _Lines:
    """The words of each line that is not empty, and the current place."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        try:
            with open_regular(path) as file:
                lines = file.read().decode().splitlines()
        except UnicodeDecodeError:
            raise BvhError(f"{path} is not a text file") from None
        except OSError as error:
            raise BvhError(f"{path} cannot be read: {error.strerror}") from None
        split = ((number, line.split()) for number, line in enumerate(lines, start=1))
        self._left = ((number, words) for number, words in split if words)

    def read(self) -> list[str]:
        """Return the words of the next line, none at the end."""
        self.number, words = next(self._left, (self.number, []))
        return words

    def next(self, wanted: str) -> list[str]:
        if words := self.read():
            return words
        raise self.fault(f"the file ends where {wanted} should come")

    def after(self, *keys: str) -> list[str]:
        """Return what follows these words in the next line."""
        key = " ".join(keys)
        words = self.next(key)
        if words[: len(keys)] != [*keys]:
            raise self.fault(f"'{key}' expected")
        return words[len(keys) :]

    def fault(self, what: str) -> BvhError:
        return BvhError(f"{self.path}, line {self.number}: {what}")

    def numbers(self, words: list[str], count: int, what: str) -> NDArray[np.float64]:
        if len(words) != count:
            raise self.fault(f"{len(words)} values for {what}, {count} expected")
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            raise self.fault(f"{what} holds something that is not a number") from None
        if not np.isfinite(values).all():
            raise self.fault(f"{what} holds a value that is not finite")
        return values


def read_bvh(path: Path) -> BvhClip:
    """Read one file whole.

    Raises:
        BvhError: naming file and line, for anything but a complete, finite, consistent file.
    """
    lines = _Lines(path)
    joints, parents, offsets, channels = _read_hierarchy(lines)
    if twice := [name for name in joints if joints.count(name) > 1]:
        raise lines.fault(f"two joints are called {twice[0]}")
    frames, frame_time_s = _read_motion_header(lines)
    width = sum(map(len, channels))
    rows: list[NDArray[np.float64]] = []
    while words := lines.read():
        if len(rows) == frames:
            raise lines.fault(f"more frames than the {frames} announced")
        rows.append(lines.numbers(words, width, f"frame {len(rows) + 1}"))
    if len(rows) != frames:
        raise lines.fault(f"the file ends after {len(rows)} of {frames} frames")
    return BvhClip(
        joints=tuple(joints),
        parents=tuple(parents),
        offsets=np.array(offsets),
        channels=tuple(channels),
        frame_time_s=frame_time_s,
        values=np.array(rows),
    )


def _read_hierarchy(
    lines: _Lines,
) -> tuple[list[str], list[int], list[NDArray[np.float64]], list[tuple[str, ...]]]:
    if lines.next("HIERARCHY") != ["HIERARCHY"]:
        raise lines.fault("a BVH file starts with HIERARCHY")
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[NDArray[np.float64]] = []
    channels: list[tuple[str, ...]] = []
    open_blocks: list[int | None] = []  # joint index, None for an End Site
    while True:
        match lines.next("a joint or MOTION"):
            case ["ROOT" | "JOINT" as kind, *name] if name:
                if (kind == "ROOT") != (not joints) or (kind == "JOINT" and not open_blocks):
                    raise lines.fault(f"{kind} out of place; one ROOT holds all joints")
                parent = open_blocks[-1] if open_blocks else -1
                if parent is None:
                    raise lines.fault("a joint inside an End Site")
                parents.append(parent)
                joints.append(" ".join(name))
                open_blocks.append(len(joints) - 1)
                offset, names = _read_block_head(lines, has_channels=True)
                offsets.append(offset)
                channels.append(names)
            case ["End", "Site"] if open_blocks and open_blocks[-1] is not None:
                open_blocks.append(None)
                _read_block_head(lines, has_channels=False)
            case ["}"] if open_blocks:
                open_blocks.pop()
            case ["MOTION"]:
                if open_blocks or not joints:
                    raise lines.fault("MOTION before the hierarchy is closed")
                return joints, parents, offsets, channels
            case words:
                raise lines.fault(f"'{' '.join(words)[:40]}' is out of place in the hierarchy")


def _read_block_head(
    lines: _Lines, *, has_channels: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if lines.after("{"):
        raise lines.fault("'{' stands alone")
    offset = lines.numbers(lines.after("OFFSET"), 3, "OFFSET")
    if not has_channels:
        return offset, ()
    count, *names = lines.after("CHANNELS") or [""]
    if count != str(len(names)):
        raise lines.fault(f"CHANNELS announces {count} and names {len(names)}")
    if unknown := [name for name in names if name not in CHANNELS]:
        raise lines.fault(f"channel {unknown[0]} is not one of {', '.join(sorted(CHANNELS))}")
    if len(set(names)) != len(names):
        raise lines.fault("a channel is named twice")
    return offset, tuple(names)


def _read_motion_header(lines: _Lines) -> tuple[int, float]:
    frames = " ".join(lines.after("Frames:"))
    if not frames.isdecimal() or not int(frames):
        raise lines.fault("the number of frames must be a positive integer")
    seconds = float(lines.numbers(lines.after("Frame", "Time:"), 1, "Frame Time")[0])
    if seconds <= 0:
        raise lines.fault("Frame Time must be positive")
    return int(frames), seconds
