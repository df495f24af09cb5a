"""Motion data as the training loop wants it: windows, batches, statistics.

Shapes: B windows, T frames, F features of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.masked import StepLengths, pad, step_lengths
from trainers.engine.samples import check_finite, validation_split
from trainers.engine.statistics import Moments, Statistics, read_statistics
from trainers.motion.rotations import choose_rotation, from_axis_angle
from trainers.rvq.augment import augmentation, check_turn
from trainers.rvq.clips.clips import Clips, open_clips
from trainers.rvq.clips.listing import POSE
from trainers.rvq.clips.synthetic import synthetic_clips
from trainers.rvq.windows.for_training import windows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.config import DatasetConfig
    from trainers.rvq.windows.windows import Windows

PRELOAD_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionBatch:
    """Windows or clips of one padded length."""

    features: Tensor
    """(B, T, F)"""
    mask: Tensor | None
    """(B, T) frames that are there, the first ones; None where all are."""
    lengths: StepLengths | None = None
    """Frames that are there, if a window of any rank is padded."""

    def shares(self, hop: int) -> dict[str, float] | None:
        """Return the weight of each part's mean over this batch among those of the step.

        The parts are means over frames, differences of frames, and tokens of `hop` frames. None if
        nothing is padded.
        """
        if self.lengths is None:
            return None
        frames = self.lengths.share()
        steps = self.lengths.share(lambda count: np.maximum(count - 1, 0))
        tokens = self.lengths.share(lambda count: -(-count // hop))
        return {"recons": frames, "joints": frames, "velocity": steps, "commit": tokens}

    def pin_memory(self) -> MotionBatch:
        """Return the batch in memory that a GPU copies from in the background."""
        mask = None if self.mask is None else self.mask.pin_memory()
        return replace(self, features=self.features.pin_memory(), mask=mask)


class MotionData:
    """One split: its clips as features, cut into windows.

    `load` makes training batches and varies them; `clips` makes whole clips and does not.
    """

    def __init__(self, clips: Clips, config: DatasetConfig, windows: Windows) -> None:
        self.source = clips
        self.windows = windows
        self.rotation = choose_rotation(config.rotation, clips.skeleton)
        self.augmentation = augmentation(config, self.rotation, clips.skeleton)
        if config.turn and clips.skeleton is not None:
            check_turn(clips, clips.skeleton)
        values = sum(pose.size for pose in clips.poses)
        preload = config.preload == "yes" or (
            config.preload == "auto" and 8 * values <= PRELOAD_BYTES
        )
        self._features = [self._read(i) for i in range(len(clips.names))] if preload else None
        whole = self.windows.length == self.windows.padded
        self._whole = {
            int(padded): np.flatnonzero(whole & (self.windows.padded == padded))
            for padded in np.unique(self.windows.padded[whole])
        }

    @property
    def skeleton(self) -> Skeleton | None:
        """The skeleton of the data set, or the stand-in for its body."""
        return self.source.skeleton

    @property
    def width(self) -> int:
        """F."""
        return int(self.features(0, 0, 1).shape[1])

    def features(self, clip: int, start: int, stop: int) -> NDArray[np.float32]:
        """(stop - start, F) of a clip."""
        if self._features is not None:
            return self._features[clip][start:stop]
        return self._read(clip, start, stop)

    def _read(self, clip: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        pose = np.array(self.source.poses[clip][start:stop])
        check_finite(f"{self.source.source}/{self.source.names[clip]}/{POSE}", pose, start)
        return from_axis_angle(pose, self.rotation)

    def load(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        together: NDArray[np.int64] | None = None,
    ) -> MotionBatch:
        """Return windows by number, varied by each one's seed; `together` are all ranks' ones."""
        windows = self.windows
        lengths = step_lengths(windows.length, windows.padded, rows, together)
        batch = replace(self._windows(rows), lengths=lengths)
        if self.augmentation is None:
            return batch
        draws = self.augmentation.draw(seeds)
        features = self.augmentation.reflect(batch.features.numpy(), draws.mirrored, draws.turn)
        peers = self._whole.get(int(self.windows.padded[rows[0]]))
        if peers is not None and draws.blends.any():
            others = self._windows(peers[(draws.other * len(peers)).astype(np.int64)])
            others_features = self.augmentation.reflect(
                others.features.numpy(), draws.other_mirrored, draws.turn
            )
            blends = draws.blends & (self.windows.length[rows] == self.windows.padded[rows])
            features = self.augmentation.blend(features, others_features, draws.share, blends)
        return replace(batch, features=torch.from_numpy(features))

    def _windows(self, rows: NDArray[np.int64]) -> MotionBatch:
        windows = self.windows
        found = [
            self.features(int(clip), int(start), int(start + length))
            for clip, start, length in zip(
                windows.sample[rows], windows.start[rows], windows.length[rows], strict=True
            )
        ]
        return _batch(found, int(windows.padded[rows[0]]))

    def clips(self, rows: NDArray[np.int64]) -> MotionBatch:
        """Return whole clips by number, the shorter ones padded, as they are."""
        found = [self.features(int(row), 0, len(self.source.poses[row])) for row in rows]
        return _batch(found, max(map(len, found)))

    def statistics(self, floor: float) -> Statistics:
        """Mean and deviation over all frames, of the varied clips where `load` varies them."""
        moments = Moments()
        for clip in self._whole_clips():
            for varied in [clip] if self.augmentation is None else self.augmentation.every(clip):
                moments.add(varied)
        mean = moments.mean.astype(np.float32)
        return Statistics(
            mean=mean,
            std=np.maximum(moments.std, floor).astype(np.float32),
            baseline=mean if self.augmentation is None else self.mean_pose(),
        )

    def mean_pose(self) -> NDArray[np.float32]:
        """Mean (F,) over all frames of the clips as they are."""
        total = sum(clip.sum(axis=0, dtype=np.float64) for clip in self._whole_clips())
        return np.asarray(total / self.source.lengths.sum(), dtype=np.float32)

    def _whole_clips(self) -> Iterator[NDArray[np.float32]]:
        return (
            self.features(row, 0, int(length)) for row, length in enumerate(self.source.lengths)
        )

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {**self.source.describe(), "windows": len(self.windows), "rotation": self.rotation}


def open_data(config: DatasetConfig, split: str) -> MotionData:
    """Open a split of `config.data`: "train", or "val" for the one to validate on.

    Raises:
        TrainerError: for whatever of the data set cannot be used.
    """
    root, name = Path(config.data), split
    if config.data == "synthetic":
        clips = synthetic_clips(split, max_samples=config.max_samples, pose_fps=config.pose_fps)
    else:
        name = validation_split(root, config.val_split) if split == "val" else split
        clips = open_clips(root, name, config.max_samples, config.pose_fps)
    return MotionData(clips, config, windows_of(config, split, clips.listing(config.data, name)))


def statistics_of(data: MotionData, config: DatasetConfig) -> Statistics:
    """Return what features are normalised by: as given, else over the clips; and their mean.

    Raises:
        TrainerError: where those that are given are not of such features.
    """
    if config.statistics is None:
        return data.statistics(config.std_floor)
    mean, std = read_statistics(config.statistics, data.width, config.std_floor)
    return Statistics(mean=mean, std=std, baseline=data.mean_pose())


def _batch(samples: list[NDArray[np.float32]], length: int) -> MotionBatch:
    features, mask = pad(samples, length)
    return MotionBatch(features=features, mask=mask)


def as_they_are(config: DatasetConfig) -> DatasetConfig:
    """Return the settings for clips that are scored: nothing varied."""
    return replace(config, mirror=False, turn=False, blend=0.0)
