"""Clips on disk: `<root>/<split>/<clip>/pose.npy` and `<root>/skeleton.json` (numpy, no torch).

A pose is (T, J*3) axis-angle in radians. Shapes: T frames, J joints.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.rvq.skeleton import Skeleton, load_skeleton
from trainers.rvq.smplh import JOINTS, smplh_skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

VALIDATION_SPLITS = ("val", "dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """The clips of one split, sorted by name."""

    source: str
    """Where they come from, for sentences."""
    names: tuple[str, ...]
    poses: Sequence[NDArray[np.float32]]
    """(T, J*3) each, memory-mapped where they come from files."""
    skeleton: Skeleton | None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each clip."""
        return np.array([len(pose) for pose in self.poses], dtype=np.int64)

    @property
    def joints(self) -> int:
        """J."""
        return self.poses[0].shape[1] // 3

    @property
    def digest(self) -> str:
        """Changes when a clip is added, taken away, renamed or changes its length."""
        lines = [f"{name} {len(pose)}\n" for name, pose in zip(self.names, self.poses, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        lengths = self.lengths
        return {
            "source": self.source,
            "clips": len(self.names),
            "frames": int(lengths.sum()),
            "shortest": int(lengths.min()),
            "longest": int(lengths.max()),
            "digest": self.digest,
        }


def validation_split(root: Path, wanted: str = "auto") -> str:
    """Name the folder to validate on: val and dev are two names of one split."""
    if wanted != "auto":
        return wanted
    return next((name for name in VALIDATION_SPLITS if (root / name).is_dir()), "val")


def open_clips(root: Path, split: str, max_samples: int | None = None) -> Clips:
    """Open a split: headers are read and checked, poses stay on disk until used.

    Raises:
        TrainerError: naming the folder or the file, for whatever cannot be trained on.
    """
    if not root.is_dir():
        raise TrainerError(f"there is no data set at {root}", "give --data a folder, or synthetic")
    if not (root / split).is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        raise TrainerError(
            f"{root} has no split {split}; it has: {there}",
            "a data set has train/ and val/ (or dev/), one folder a clip",
        )
    files = sorted((root / split).glob("*/pose.npy"))[:max_samples]
    if not files:
        raise TrainerError(
            f"{root / split} has no clip: no */pose.npy", "import or copy clips there"
        )
    skeleton = load_skeleton(root)
    poses = [_open_pose(path) for path in files]
    width = poses[0].shape[1]
    for path, pose in zip(files, poses, strict=True):
        if pose.shape[1] != width:
            raise TrainerError(
                f"{path} has {pose.shape[1]} values a frame, {files[0]} has {width}",
                "all clips of a data set need the same joints",
            )
    if skeleton is not None and width != 3 * len(skeleton):
        raise TrainerError(
            f"{files[0]} has {width} values a frame, skeleton.json has {len(skeleton)} joints",
            f"{3 * len(skeleton)} values are wanted: axis-angle, three a joint",
        )
    if skeleton is None and width == 3 * len(JOINTS):
        skeleton = smplh_skeleton()
    return Clips(
        source=f"{root / split}",
        names=tuple(path.parent.name for path in files),
        poses=poses,
        skeleton=skeleton,
    )


def _open_pose(path: Path) -> NDArray[np.float32]:
    try:
        pose = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise TrainerError(
            f"{path} cannot be read: {reason}", "write the clip again, or take its folder out"
        ) from None
    if not isinstance(pose, np.ndarray) or pose.dtype.kind != "f":
        raise TrainerError(f"{path} does not hold floating point numbers", "pose.npy is float32")
    if pose.ndim != 2 or pose.shape[1] % 3 or not pose.size:
        raise TrainerError(
            f"{path} has shape {pose.shape}, (frames, joints * 3) is wanted",
            "one row a frame, three axis-angle values a joint",
        )
    return pose


def check_finite(clips: Clips, index: int, pose: NDArray[np.floating[Any]], start: int = 0) -> None:
    """Refuse poses that hold NaN or infinity, naming file and frame."""
    if not np.isfinite(pose).all():
        frame = start + int(np.flatnonzero(~np.isfinite(pose).all(axis=1))[0])
        raise TrainerError(
            f"{clips.source}/{clips.names[index]}/pose.npy holds a value that is not finite, "
            f"first in frame {frame}",
            "write the clip again, or take its folder out",
        )
