"""Clips on disk: `<root>/<split>/<clip>/pose.npy` and `<root>/skeleton.json` (numpy, no torch).

A pose is (T, J*3) axis-angle in radians. Shapes: T frames, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.engine.samples import digest, map_array
from trainers.motion.skeleton import Skeleton, load_skeleton
from trainers.motion.smplh import JOINTS, smplh_skeleton
from trainers.rvq.clips.listing import POSE, Listing, find_poses, frame_rate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """The clips of one split, sorted by name."""

    source: str
    """Where they come from, as messages name it."""
    names: tuple[str, ...]
    poses: Sequence[NDArray[np.float32]]
    """(T, J*3) each, memory-mapped if they come from files."""
    skeleton: Skeleton | None
    fps: float

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each clip."""
        return np.array([len(pose) for pose in self.poses], dtype=np.int64)

    @property
    def joints(self) -> int:
        """J."""
        return int(self.poses[0].shape[1]) // 3

    @property
    def digest(self) -> str:
        """Changes when a clip is added, removed or renamed, or changes its length."""
        return digest(self.names, map(len, self.poses))

    def listing(self, data: str, split: str) -> Listing:
        """Return what a window cache must know of them."""
        return Listing(data=data, split=split, names=self.names, lengths=self.lengths, fps=self.fps)

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        lengths = self.lengths
        return {
            "source": self.source,
            "clips": len(self.names),
            "frames": int(lengths.sum()),
            "shortest": int(lengths.min()),
            "longest": int(lengths.max()),
            "fps": self.fps,
            "digest": self.digest,
        }


def open_clips(
    root: Path, split: str, max_samples: int | None = None, pose_fps: float | None = None
) -> Clips:
    """Open a split: headers are read and checked, poses stay on disk until used.

    Raises:
        TrainerError: naming the folder or the file that cannot be trained on.
    """
    names, heads = find_poses(root, split, max_samples)
    paths = [root / split / name / POSE for name in names]
    poses = [map_array(path, head) for path, head in zip(paths, heads, strict=True)]
    skeleton = load_skeleton(root)
    width = poses[0].shape[1]
    if skeleton is not None and width != 3 * len(skeleton):
        raise TrainerError(
            f"{paths[0]} has {width} values a frame, skeleton.json has {len(skeleton)} joints",
            f"{3 * len(skeleton)} values are wanted: axis-angle, three a joint",
        )
    fps = frame_rate(root, pose_fps)
    if skeleton is None and width == 3 * len(JOINTS):
        skeleton = smplh_skeleton(fps)
    return Clips(
        source=f"{root / split}",
        names=tuple(names),
        poses=poses,
        skeleton=skeleton,
        fps=fps,
    )
