"""The clips of a split, as `engine.samples` lists them, with their frame rate (numpy, no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine import samples
from trainers.engine.errors import ConfigError, TrainerError
from trainers.motion.skeleton import FPS, load_skeleton

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.engine.arrays import npy

POSE = "pose.npy"
SKELETON = "skeleton.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(samples.Listing):
    """The S clips of a split, sorted by name; their lengths are frames."""

    fps: float


def frame_rate(root: Path, given: float | None = None) -> float:
    """Return frames a second: as skeleton.json says, else as given, else 30.

    Raises:
        TrainerError: if the two differ, or skeleton.json is damaged.
    """
    skeleton = load_skeleton(root)
    if skeleton is None:
        return FPS if given is None else given
    if given is not None and given != skeleton.fps:
        raise ConfigError(
            f"dataset.pose_fps is {given:g}, but {root / SKELETON} says {skeleton.fps:g}",
            "leave --pose-fps out",
        )
    return skeleton.fps


def find_poses(
    root: Path, split: str, max_samples: int | None = None, watch: samples.Watch = iter
) -> tuple[list[str], list[npy.Head]]:
    """Return the clips of a split that have a pose, and the heads of these.

    Raises:
        TrainerError: naming the folder or the file that cannot be trained on.
    """
    names, heads = samples.find_samples(
        root, split, POSE, read_pose_head, max_samples=max_samples, watch=watch
    )
    width = heads[0].shape[1]
    for name, head in zip(names, heads, strict=True):
        if head.shape[1] != width:
            raise TrainerError(
                f"{root / split / name / POSE} has {head.shape[1]} values a frame, "
                f"{root / split / names[0] / POSE} has {width}",
                "all clips of a data set need the same joints",
            )
    return names, heads


def list_clips(
    root: Path,
    split: str,
    max_samples: int | None = None,
    *,
    pose_fps: float | None = None,
    watch: samples.Watch = iter,
) -> Listing:
    """List a split; `watch` may follow the names as they are read. Raises as `find_poses` does."""
    names, heads = find_poses(root, split, max_samples, watch)
    return Listing(
        data=str(root),
        split=split,
        names=tuple(names),
        lengths=np.array([head.shape[0] for head in heads], dtype=np.int64),
        fps=frame_rate(root, pose_fps),
    )


def read_pose_head(path: str) -> npy.Head:
    """Read the head of a pose's file. Raises as `samples.read_array_head` does."""
    head = samples.read_array_head(path)
    shape = head.shape
    if len(shape) != 2 or shape[1] % 3 or not all(shape):
        raise TrainerError(
            f"{path} has shape {shape}, (frames, joints * 3) is wanted",
            "one row a frame, three axis-angle values a joint",
        )
    return head
