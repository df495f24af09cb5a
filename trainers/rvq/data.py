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

from trainers.engine.batches import pinned
from trainers.engine.masked import StepLengths, pad, step_lengths
from trainers.engine.samples import validation_split
from trainers.engine.statistics import Moments, Statistics, read_statistics
from trainers.motion.clips.clips import ClipFeatures, Clips, open_clips
from trainers.motion.clips.synthetic import synthetic_clips
from trainers.motion.rotations import choose_rotation
from trainers.rvq.augment import augmentation, check_turn
from trainers.rvq.windows.for_training import windows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.config import DatasetConfig
    from trainers.rvq.windows.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionBatch:
    """Windows or clips of one padded length."""

    features: Tensor  # (B, T, F)
    mask: Tensor | None  # (B, T) frames that are there, the first ones; None if all are
    lengths: StepLengths | None = None  # frames that are there, if a window of any rank is padded

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
        return pinned(self)


class MotionData:
    """One split: its clips as features, cut into windows.

    `load` makes training batches and augments them; `clips` makes whole clips and does not.
    """

    def __init__(self, clips: Clips, config: DatasetConfig, windows: Windows) -> None:
        self.source = clips
        self.windows = windows
        self.rotation = choose_rotation(config.rotation, clips.skeleton)
        self.augmentation = augmentation(config, self.rotation, clips.skeleton)
        if config.turn and clips.skeleton is not None:
            check_turn(clips, clips.skeleton)
        self.features = ClipFeatures(clips, self.rotation, config.preload)
        self._is_whole = windows.length == windows.padded
        self._whole = {
            int(padded): np.flatnonzero(self._is_whole & (windows.padded == padded))
            for padded in np.unique(windows.padded[self._is_whole])
        }

    @property
    def skeleton(self) -> Skeleton | None:
        """The skeleton of the data set, or the stand-in for its body."""
        return self.source.skeleton

    @property
    def width(self) -> int:
        """F."""
        return int(self.features.read(0, 0, 1).shape[1])

    def load(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        together: NDArray[np.int64] | None = None,
    ) -> MotionBatch:
        """Return windows by number, each augmented by its seed; `together` are those of the step.

        All are of one padded length.
        """
        windows, padded = self.windows, int(self.windows.padded[rows[0]])
        lengths = step_lengths(windows.length, windows.padded, rows, together)
        batch = replace(_batch(self._read(rows), padded), lengths=lengths)
        if self.augmentation is None:
            return batch
        peers = self._whole.get(padded)
        features = self.augmentation.augment(
            batch.features.numpy(),
            seeds,
            whole=self._is_whole[rows],
            peers=None if peers is None else lambda chance: self._pick(peers, chance),
        )
        return replace(batch, features=torch.from_numpy(features))

    def _pick(self, rows: NDArray[np.int64], chance: NDArray[np.float64]) -> NDArray[np.float32]:
        """(B, T, F) whole windows among these, as chance (B,) in [0, 1) picks them."""
        return np.stack(self._read(rows[(chance * len(rows)).astype(np.int64)]))

    def _read(self, rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        windows = self.windows
        columns = (windows.sample[rows], windows.start[rows], windows.length[rows])
        return [
            self.features.read(int(clip), int(start), int(start + length))
            for clip, start, length in zip(*columns, strict=True)
        ]

    def clips(self, rows: NDArray[np.int64]) -> MotionBatch:
        """Return whole clips by number, the shorter ones padded, as they are."""
        found = [self.features.read(int(row)) for row in rows]
        return _batch(found, max(map(len, found)))

    def statistics(self, floor: float) -> Statistics:
        """Mean and deviation over all frames, of the clips as `load` augments them."""
        moments = Moments()
        for clip in self.features:
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
        total = sum(clip.sum(axis=0, dtype=np.float64) for clip in self.features)
        return np.asarray(total / self.source.lengths.sum(), dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {**self.source.describe(), "windows": len(self.windows), "rotation": self.rotation}


def open_data(config: DatasetConfig, split: str) -> MotionData:
    """Open a split of `config.data`: "train", or "val" for the one to validate on.

    Raises:
        TrainerError: if the data set cannot be used.
    """
    if config.data == "synthetic":
        clips = synthetic_clips(split, max_samples=config.max_samples, pose_fps=config.pose_fps)
    else:
        root = Path(config.data)
        name = validation_split(root, config.val_split) if split == "val" else split
        clips = open_clips(root, name, config.max_samples, config.pose_fps)
    return MotionData(clips, config, windows_of(config, split, clips))


def statistics_of(data: MotionData, config: DatasetConfig) -> Statistics:
    """Return what features are normalised by: as given, else over the clips; and their mean.

    Raises:
        TrainerError: if those that are given are of other features.
    """
    if config.statistics is None:
        return data.statistics(config.std_floor)
    mean, std = read_statistics(config.statistics, data.width, config.std_floor)
    return Statistics(mean=mean, std=std, baseline=data.mean_pose())


def _batch(samples: list[NDArray[np.float32]], length: int) -> MotionBatch:
    features, mask = pad(samples, length)
    return MotionBatch(features=features, mask=mask)


def as_they_are(config: DatasetConfig) -> DatasetConfig:
    """Return the settings for clips that are scored: nothing is augmented."""
    return replace(config, mirror=False, turn=False, blend=0.0)
