"""What training has left: a checkpoint's model, and data as that model wants it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainers.engine.checkpoint import checkpoint, files
from trainers.engine.config.config import from_dict
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.motion.rotations import values_per_joint
from trainers.rvq.config import Config
from trainers.rvq.data import as_they_are, open_data
from trainers.rvq.model import RVQVAE

if TYPE_CHECKING:
    from trainers.rvq.data import MotionData


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A checkpoint, loaded; its model in evaluation mode."""

    path: Path
    step: int
    config: Config
    model: RVQVAE
    mean_pose: torch.Tensor
    """(F,) of the training data."""
    weights: str
    """The checksum of the weights: codes mean something to these alone."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.path.parent.parent


def flags(verb: str, about: str) -> argparse.ArgumentParser:
    """The command line that the verbs have in common."""
    parser = argparse.ArgumentParser(
        prog=f"python -m trainers.rvq.{verb}", description=about, allow_abbrev=False
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a run's or a checkpoint's folder"
    )
    return parser


def data_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of those verbs that look at clips."""
    parser.add_argument("--data", help="a data set; left out: the one it was trained on")
    parser.add_argument("--split", help="train, val or dev; left out: the one it was validated on")


def load(path: Path) -> Trained:
    """Load the checkpoint that `path` means: its own folder, or a run's best.

    Where the run kept a moving average of the weights, that is what is loaded.

    Raises:
        TrainerError: where it cannot be used, or is not of rvq.
    """
    found = files.find(path)
    about = files.describe(found)
    if about.get("trainer") != "rvq":
        raise TrainerError(f"{found} is a checkpoint of {about.get('trainer')}, not of rvq")
    config = from_dict(Config, about["config"], name="rvq", origin=f"{found}/checkpoint.json")
    averaged = config.optim.ema_decay is not None
    mean_pose = _mean_pose(found.parent.parent / "statistics.json")
    model = RVQVAE(len(mean_pose), config.model, config.quantizer, seed=config.run.seed)
    checkpoint.load_model(model, found, ema=averaged)
    weights = about["files"][checkpoint.EMA_WEIGHTS if averaged else checkpoint.WEIGHTS]
    return Trained(
        path=found,
        step=about["step"],
        config=config,
        model=model.eval(),
        mean_pose=mean_pose,
        weights=f"{weights['crc32']:08x}",
    )


def _mean_pose(saved: Path) -> torch.Tensor:
    try:
        statistics = json.loads(saved.read_text(encoding="utf-8"))
        return torch.tensor(statistics["baseline"], dtype=torch.float32)
    except (OSError, *MALFORMED) as error:
        raise TrainerError(
            f"{saved} cannot be used ({type(error).__name__})", "it lies in the run's folder"
        ) from None


def open_for(trained: Trained, data: str | None, split: str | None) -> MotionData:
    """Open a split as the model wants its features, of the data it was trained on or of `data`.

    Without a split, the one that the run was validated on.

    Raises:
        TrainerError: where the data cannot be used, or does not fit the model.
    """
    dataset = replace(as_they_are(trained.config.dataset), use_cache=False)  # whole clips
    if data is not None:
        dataset = replace(dataset, data=data, max_samples=None, pose_fps=None, val_split="auto")
    if split is not None:
        dataset = replace(dataset, val_split="dev" if split == "dev" else "auto")
    split = "val" if split in ("dev", None) else split
    clips = open_data(dataset, split)
    wanted = len(trained.model.mean)
    if clips.width != wanted and dataset.rotation == "auto":
        for rotation in ("axis_angle", "6d"):
            if clips.source.joints * values_per_joint(rotation) == wanted:
                again = replace(dataset, rotation=rotation)
                return open_data(again, split)
    if clips.width != wanted:
        raise TrainerError(
            f"{clips.source.source} gives {clips.width} features a frame, "
            f"the model was trained on {wanted}",
            "give data with the same joints",
        )
    return clips
