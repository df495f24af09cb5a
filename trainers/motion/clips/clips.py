"""Clips on disk: `<root>/<split>/<clip>/pose.npy` and `<root>/skeleton.json` (numpy, no torch).

A pose is (T, J*3) axis-angle in radians. Shapes: T frames, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.engine.samples import check_finite, map_array
from trainers.motion.clips.listing import POSE, Listing, find_poses, frame_rate
from trainers.motion.rotations import from_axis_angle
from trainers.motion.skeleton import Skeleton, load_skeleton
from trainers.motion.smplh import JOINTS, smplh_skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PRELOAD_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips(Listing):
    """The clips of one split, with their poses."""

    poses: Sequence[NDArray[np.float32]]  # (T, J*3) each, memory-mapped if they come from files
    skeleton: Skeleton | None

    @property
    def source(self) -> str:
        """Where they come from, as messages name it."""
        return str(Path(self.data) / self.split)

    @property
    def joints(self) -> int:
        """J."""
        return int(self.poses[0].shape[1]) // 3

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {
            "source": self.source,
            "clips": len(self.names),
            "frames": int(self.lengths.sum()),
            "shortest": int(self.lengths.min()),
            "longest": int(self.lengths.max()),
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
        data=str(root),
        split=split,
        names=tuple(names),
        lengths=np.array([len(pose) for pose in poses], dtype=np.int64),
        poses=poses,
        skeleton=skeleton,
        fps=fps,
    )


class ClipFeatures:
    """Clips as the network sees them: features (T, F), all of them finite.

    `preload` "auto" holds them in memory up to `PRELOAD_BYTES`.
    """

    def __init__(self, clips: Clips, rotation: str, preload: str) -> None:
        self._clips, self._rotation = clips, rotation
        size = 8 * sum(pose.size for pose in clips.poses)
        self.held: list[NDArray[np.float32]] | None = None
        if preload == "yes" or (preload == "auto" and size <= PRELOAD_BYTES):
            self.held = list(self)

    def read(self, clip: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return (stop - start, F) of a clip.

        Raises:
            TrainerError: if it holds a value that is not finite.
        """
        if self.held is not None:
            return self.held[clip][start:stop]
        pose = np.array(self._clips.poses[clip][start:stop])
        check_finite(f"{self._clips.source}/{self._clips.names[clip]}/{POSE}", pose, start)
        return from_axis_angle(pose, self._rotation)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Give whole clips in order."""
        return map(self.read, range(len(self._clips.names)))
