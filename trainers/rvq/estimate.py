"""A GPU's memory that training needs: `python -m trainers.rvq.estimate FLAGS`, JSON on stdout.

FLAGS are those of training, and `--ranks N`, `--device cuda|cpu`, `--room-bytes N`. Nothing is
trained, and the data set need not be on this machine: see `data_shapes`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from trainers.engine.batches import local_size
from trainers.engine.config.config import resolve
from trainers.engine.distributed import World
from trainers.engine.errors import run_main
from trainers.engine.memory.rehearsal import Question, StepSpec, answer, parse_question
from trainers.engine.statistics import Statistics
from trainers.motion.clips.clips import open_clips
from trainers.motion.clips.synthetic import synthetic_clips
from trainers.motion.rotations import choose_rotation, values_per_joint
from trainers.motion.skeleton import FPS
from trainers.motion.smplh import smplh_skeleton
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import MotionBatch
from trainers.rvq.losses import build_loss
from trainers.rvq.model import build_model
from trainers.rvq.windows.for_training import recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.config import DatasetConfig

NPY_HEADER = 128  # bytes before the values of a small array
FAR = 1 << 40  # a stride that no clip is long enough for: one window of each ratio will do
ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """The facts of a data set that memory depends on."""

    joints: int
    skeleton: Skeleton | None
    windows: dict[int, bool]  # frames of a window, and whether there are any that are padded
    fps: float = FPS
    assumed: str = ""

    def features(self, config: DatasetConfig) -> int:
        """F of the network's input."""
        return self.joints * values_per_joint(choose_rotation(config.rotation, self.skeleton))


def data_shapes(config: DatasetConfig) -> Shapes:
    """Read the shapes of the data set; if it is not here, assume those that need the most.

    Raises:
        TrainerError: the data set is here, and cannot be trained on.
    """
    root = Path(config.data)
    if config.data == "synthetic":
        clips = synthetic_clips("train", max_samples=config.max_samples, pose_fps=config.pose_fps)
        lengths = clips.lengths
    elif root.is_dir():
        clips = open_clips(root, "train", max_samples=1, pose_fps=config.pose_fps)
        lengths = _lengths(root, clips.poses[0], config.max_samples)
    else:
        skeleton = smplh_skeleton()
        return Shapes(
            joints=len(skeleton),
            skeleton=skeleton,
            windows=_windows(config, np.arange(1, 1 + max(recipe(config).sizes))),
            fps=config.pose_fps or FPS,
            assumed=f"there is no data set {root} here: {len(skeleton)} joints (SMPL-H) are "
            "assumed, and clips that are shorter than their window",
        )
    return Shapes(
        joints=clips.joints,
        skeleton=clips.skeleton,
        windows=_windows(config, lengths),
        fps=clips.fps,
    )


def _lengths(root: Path, first: NDArray[np.float32], max_samples: int | None) -> NDArray[np.int64]:
    """Frames of all clips by the sizes of their files: opening each takes 40 times as long."""
    frame = first.shape[1] * first.itemsize
    files = sorted((root / "train").glob("*/pose.npy"))[:max_samples]
    return np.array([(file.stat().st_size - NPY_HEADER) // frame for file in files])


def _windows(config: DatasetConfig, lengths: NDArray[np.int64]) -> dict[int, bool]:
    windows = replace(recipe(config), window_stride=FAR).cut(lengths)
    frames = np.unique(windows.padded)
    return {int(n): bool((windows.length[windows.padded == n] < n).any()) for n in frames}


def estimate(config: Config, asked: Question, shapes: Shapes | None = None) -> dict[str, Any]:
    """Return what batches of the configured size, and of others, need."""
    shapes = shapes or data_shapes(config.dataset)
    passes = config.loop.accumulation(asked.ranks)
    size = config.dataset.frames_per_batch or config.loop.batch_size
    if config.loop.global_batch is not None:
        size = -(-config.loop.global_batch // (passes * asked.ranks))
    largest = _fullest(config, shapes, size)[0]
    features = shapes.features(config.dataset)
    return answer(
        asked,
        rehearsal(config, shapes, asked.ranks),
        loop=replace(config.loop, global_batch=None, accumulate=passes),
        optim=config.optim,
        size=size,
        setting="frames_per_batch" if config.dataset.frames_per_batch else "batch_size",
        batch=f"{largest.windows:,} windows of {largest.frames} frames, {features} features each",
        assumed=shapes.assumed,
    )


def rehearsal(config: Config, shapes: Shapes, ranks: int = 1) -> Callable[[int], StepSpec]:
    """Return what builds a step for batches of a size, in windows or (`frames_per_batch`) frames.

    It trains all layers of the quantizer; a real step leaves some out at random.
    """
    whole = replace(config.quantizer, quantize_dropout_prob=0.0)
    trained = replace(config, quantizer=whole)
    return lambda size: _play(trained, shapes, _fullest(config, shapes, size), ranks)


class _Batch(NamedTuple):
    """B windows of T frames, padded or not."""

    windows: int
    frames: int
    padded: bool


def _fullest(config: Config, shapes: Shapes, size: int) -> list[_Batch]:
    """Return the largest batch, and the largest with a mask if it is another: that takes more."""
    by_frames = None if config.dataset.frames_per_batch is None else size
    batches = [
        _Batch(local_size(frames, size, by_frames), frames, padded)
        for frames, padded in shapes.windows.items()
    ]
    batches.sort(key=lambda batch: batch.windows * batch.frames, reverse=True)
    largest, masked = batches[0], [batch for batch in batches if batch.padded]
    return [largest] if largest.padded else [largest, *masked[:1]]


def _play(config: Config, shapes: Shapes, batches: list[_Batch], ranks: int) -> StepSpec:
    """Build what `train` builds."""
    features = shapes.features(config.dataset)
    flat = np.zeros(features, dtype=np.float32)
    model = build_model(config, Statistics(mean=flat, std=flat + 1, baseline=flat))
    loss = build_loss(config.loss, model, shapes.skeleton)

    def losses(model: nn.Module, batch: MotionBatch) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = loss(model(batch.features, batch.mask), batch.mask)
        return parts

    def learn_codes(step: int) -> None:
        if step == 1:  # the codebooks begin with the latents of all ranks
            mine = model.quantizer._first  # noqa: SLF001 - what the other ranks would send
            mine += [torch.empty_like(rows) for rows in mine for _ in range(ranks - 1)]
        model.quantizer.update_(ALONE)

    def maker(batch: _Batch) -> Callable[[], MotionBatch]:
        shape = (batch.windows, batch.frames)
        return lambda: MotionBatch(
            features=torch.empty(*shape, features),
            mask=torch.empty(shape, dtype=torch.bool) if batch.padded else None,
        )

    return StepSpec(
        model=model,
        losses=losses,
        batches=[maker(batch) for batch in batches],
        after_step=learn_codes,
    )


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    asked, flags = parse_question(argv)
    config = resolve(Config, flags, name="rvq", presets=PRESETS)
    sys.stdout.write(json.dumps(estimate(config, asked)) + "\n")


if __name__ == "__main__":
    run_main(main)
