"""Clips as the network sees them: rotations converted, held in memory or read when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.samples import check_finite
from trainers.motion.rotations import from_axis_angle
from trainers.rvq.clips.listing import POSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainers.rvq.clips.clips import Clips

PRELOAD_BYTES = 2 << 30


class ClipFeatures:
    """The features (T, F) of clips, all of them finite.

    `preload` "auto" holds them in memory up to `PRELOAD_BYTES`.
    """

    def __init__(self, clips: Clips, rotation: str, preload: str) -> None:
        self._clips, self._rotation = clips, rotation
        size = 8 * sum(pose.size for pose in clips.poses)
        hold = preload == "yes" or (preload == "auto" and size <= PRELOAD_BYTES)
        self.held: list[NDArray[np.float32]] | None = None
        if hold:
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
