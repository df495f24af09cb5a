"""A checkpoint's model, and data in the form that this model takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import torch

from trainers.engine import trained
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.motion.rotations import values_per_joint
from trainers.rvq.config import Config
from trainers.rvq.data import as_they_are, open_data
from trainers.rvq.model import RVQVAE

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.rvq.data import MotionData

Trained: TypeAlias = trained.Trained[Config, RVQVAE]


def load(path: Path) -> Trained:
    """Load the checkpoint that `path` means: its own folder, or a run's best.

    If the run kept a moving average of the weights, that is loaded. A relative data set of the
    run's settings becomes the path where it lies, seen from the present working directory.

    Raises:
        TrainerError: it cannot be used, or is not of rvq.
    """
    found = trained.load(path, trainer="rvq", config=Config, build=_build)
    return trained.locate_data(found)


def baseline(path: Path) -> torch.Tensor:
    """Return the mean (F,) of the training clips' features, from a checkpoint's folder.

    Raises:
        TrainerError: the checkpoint does not hold it.
    """
    statistics = trained.read_json(path, "statistics.json")
    try:
        # Earlier versions called it the mean pose.
        values = statistics["baseline" if "baseline" in statistics else "mean_pose"]
        return torch.tensor(values, dtype=torch.float32)
    except MALFORMED as error:
        raise TrainerError(
            f"the statistics.json of {path} cannot be used ({type(error).__name__})"
        ) from None


def _build(config: Config, path: Path) -> RVQVAE:
    features = len(baseline(path))
    return RVQVAE(features, config.model, config.quantizer, seed=config.run.seed)


def open_for(found: Trained, data: str | None, split: str | None) -> MotionData:
    """Open a split of `data` (default: the data it was trained on), with the model's features.

    The default split is the one that the run was validated on.

    Raises:
        TrainerError: the data cannot be used, or does not fit the model.
    """
    dataset = replace(as_they_are(found.config.dataset), use_cache=False)  # whole clips
    if data is not None:
        dataset = replace(dataset, data=data, max_samples=None, pose_fps=None, val_split="auto")
    if split is not None:
        dataset = replace(dataset, val_split="dev" if split == "dev" else "auto")
    split = "val" if split in ("dev", None) else split
    clips = open_data(dataset, split)
    wanted = len(found.model.mean)
    if clips.width != wanted and dataset.rotation == "auto":
        for rotation in ("axis_angle", "6d"):
            if clips.source.joints * values_per_joint(rotation) == wanted:
                return open_data(replace(dataset, rotation=rotation), split)
    if clips.width != wanted:
        raise TrainerError(
            f"{clips.source.source} gives {clips.width} features a frame, "
            f"the model was trained on {wanted}",
            "give data with the same joints",
        )
    return clips
