"""Score a checkpoint on a split: `python -m trainers.rvq.evaluate --checkpoint RUN [--data D]`.

Prints tables (or JSON) and writes evaluation.json into the run's folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from trainers.engine import checkpoint, checkpoint_files, distributed
from trainers.engine.config import from_dict
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.tables import quiet_table
from trainers.rvq.config import Config
from trainers.rvq.data import as_they_are, open_data
from trainers.rvq.features import values_per_joint
from trainers.rvq.losses import build_loss
from trainers.rvq.model import RVQVAE
from trainers.rvq.score import Score, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.rvq.data import MotionData

WORST = 12  # joints in the table; evaluation.json has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A score, and what was scored."""

    checkpoint: Path
    step: int
    data: str
    unit: str
    joints: tuple[str, ...]
    moving: tuple[int, ...]
    """Joints that have a position error."""
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds."""
        return {
            "checkpoint": str(self.checkpoint),
            "step": self.step,
            "data": self.data,
            "unit": self.unit,
            "joints": list(self.joints),
            "position_joints": [self.joints[j] for j in self.moving],
            **self.score.to_dict(),
        }


def evaluate(path: Path, data: str | None = None, split: str = "val") -> Evaluation:
    """Score the checkpoint that `path` means, on its own data or on another data set.

    Where the run kept a moving average of the weights, that is what is scored.

    Raises:
        TrainerError: where checkpoint or data cannot be used, or do not fit each other.
    """
    found = checkpoint_files.find(path)
    about = checkpoint_files.describe(found)
    if about.get("trainer") != "rvq":
        raise TrainerError(f"{found} is a checkpoint of {about.get('trainer')}, not of rvq")
    config = from_dict(Config, about["config"], name="rvq", origin=f"{found}/checkpoint.json")
    with distributed.world() as world:
        model, mean_pose = load_model(config, found)
        clips = open_for(config, model, data, split)
        model = model.to(world.device).eval()
        loss = build_loss(config.loss, model, clips).to(world.device)
        scored = score(model, clips, loss, mean_pose.to(world.device), world)
    skeleton = clips.skeleton
    names = tuple(f"joint {j}" for j in range(clips.source.joints))
    return Evaluation(
        checkpoint=found,
        step=about["step"],
        data=clips.source.source,
        unit=skeleton.unit if skeleton else "",
        joints=skeleton.joints if skeleton else names,
        moving=skeleton.moving if skeleton else (),
        score=scored,
    )


def load_model(config: Config, found: Path) -> tuple[RVQVAE, torch.Tensor]:
    """Return a checkpoint's model, with its statistics, and the mean pose of its training data."""
    saved = found.parent.parent / "statistics.json"
    try:
        statistics = json.loads(saved.read_text(encoding="utf-8"))
        mean_pose = torch.tensor(statistics["mean_pose"], dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerError(
            f"{saved} cannot be used ({type(error).__name__})", "it lies in the run's folder"
        ) from None
    model = RVQVAE(len(mean_pose), config.model, config.quantizer, seed=config.run.seed)
    checkpoint.load_model(model, found, ema=config.optim.ema_decay is not None)
    return model, mean_pose


def open_for(config: Config, model: RVQVAE, data: str | None, split: str) -> MotionData:
    """Open a split as the model wants its features, of the data it was trained on or of `data`."""
    dataset = as_they_are(config.dataset)
    if data is not None:
        dataset = replace(dataset, data=data, max_samples=None)
    dataset = replace(dataset, val_split="dev" if split == "dev" else "auto")
    clips = open_data(dataset, "val" if split == "dev" else split)
    if clips.width != len(model.mean) and dataset.rotation == "auto":
        for rotation in ("axis_angle", "6d"):
            if clips.source.joints * values_per_joint(rotation) == len(model.mean):
                again = replace(dataset, rotation=rotation)  # type: ignore[arg-type]
                return open_data(again, "val" if split == "dev" else split)
    if clips.width != len(model.mean):
        raise TrainerError(
            f"{clips.source.source} gives {clips.width} features a frame, "
            f"the model was trained on {len(model.mean)}",
            "evaluate it on data with the same joints",
        )
    return clips


def show(found: Evaluation, console: Console) -> None:
    """Print the score as tables."""
    scored = found.score
    console.print(
        f"{found.checkpoint} (step {found.step}) on {found.data}: "
        f"{scored.clips} clips, {scored.frames:,} frames",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    whole = quiet_table("", "reconstruction", "mean pose")
    figures = scored.summary()
    if scored.mpjpe is not None and scored.mpjpe_mean_pose is not None:
        mpjpe, baseline = f"{scored.mpjpe:.3f}", f"{scored.mpjpe_mean_pose:.3f}"
        whole.add_row(f"MPJPE, {found.unit}", mpjpe, baseline)
    l2_mean = sum(scored.l2_mean_pose) / len(scored.l2_mean_pose)
    whole.add_row("error per frame and joint", f"{figures['l2']:.4f}", f"{l2_mean:.4f}")
    whole.add_row("angle per joint, degrees", f"{figures['angle_deg']:.2f}", "—")
    whole.add_row("velocity error per frame", f"{figures['velocity_error']:.4f}", "—")
    whole.add_row("loss", f"{figures['loss']:.4f}", "—")
    console.print(whole)

    places = dict(zip(found.moving, scored.position or (), strict=False))
    key = (lambda j: -places.get(j, 0.0)) if places else (lambda j: -scored.l2[j])
    position = f"position, {found.unit}" if found.unit else "position"
    joints = quiet_table("joint", position, "error", "angle, degrees", "velocity")
    for joint in sorted(range(len(found.joints)), key=key)[:WORST]:
        joints.add_row(
            found.joints[joint],
            f"{places[joint]:.3f}" if joint in places else "—",
            f"{scored.l2[joint]:.4f}",
            f"{scored.angle_deg[joint]:.2f}",
            f"{scored.velocity[joint]:.4f}",
        )
    joints.title = f"\nthe {min(WORST, len(found.joints))} joints with the largest error"
    console.print(joints)

    codes = quiet_table("codebook", "perplexity", "codes used here", "dead since training")
    rows = zip(scored.perplexity, scored.codes_used, scored.dead_codes, strict=True)
    for layer, (perplexity, used, dead) in enumerate(rows, start=1):
        codes.add_row(str(layer), f"{perplexity:.1f}", f"{used} of {scored.nb_code}", str(dead))
    codes.title = "\nthe codebooks"
    console.print(codes)


def write(found: Evaluation, folder: Path) -> Path:
    """Write evaluation.json into the run's folder (another name for the training split)."""
    split = found.data.rpartition("/")[2]
    path = folder / ("evaluation-train.json" if split == "train" else "evaluation.json")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TrainerError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.rvq.evaluate", description="Score a checkpoint of rvq."
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="a run's or a checkpoint's folder"
    )
    parser.add_argument("--data", help="a data set; left out: the one it was trained on")
    parser.add_argument("--split", default="val", help="train, val or dev")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    given = parser.parse_args(argv)
    found = evaluate(given.checkpoint, given.data, given.split)
    path = write(found, found.checkpoint.parent.parent)
    if given.json:
        sys.stdout.write(json.dumps(found.to_dict()) + "\n")
    else:
        show(found, Console())
        sys.stdout.write(f"all figures: {path}\n")
    return 0


if __name__ == "__main__":
    run_main(main)
