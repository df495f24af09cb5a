"""Score a checkpoint on a split: `python -m trainers.rvq.evaluate --checkpoint RUN [--data D]`.

Prints tables (or JSON) and writes evaluation.json into the run's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine import distributed
from trainers.engine.errors import run_main
from trainers.engine.tables import quiet_table
from trainers.engine.verbs import run_evaluation
from trainers.rvq.losses import build_loss
from trainers.rvq.score import Score, score
from trainers.rvq.trained import baseline, load, open_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

WORST = 12  # joints in the table; evaluation.json has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A score, and what was scored."""

    checkpoint: Path
    step: int
    data: str
    unit: str
    joints: tuple[str, ...]
    moving: tuple[int, ...]  # joints that have a position error
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


def evaluate(path: Path, data: str | None = None, split: str | None = None) -> Evaluation:
    """Score the checkpoint that `path` means, on its own data or on another data set.

    If the run kept a moving average of the weights, that is what is scored.

    Raises:
        TrainerError: checkpoint or data cannot be used, or do not fit each other.
    """
    trained = load(path)
    clips = open_for(trained, data, split)
    with distributed.world() as world:
        model = trained.model.to(world.device)
        loss = build_loss(trained.config.loss, model, clips.skeleton).to(world.device)
        mean = baseline(trained.path).to(world.device)
        scored = score(model, clips, loss, mean, world)
    skeleton = clips.skeleton
    names = tuple(f"joint {j}" for j in range(clips.source.joints))
    return Evaluation(
        checkpoint=trained.path,
        step=trained.step,
        data=clips.source.source,
        unit=skeleton.unit if skeleton else "",
        joints=skeleton.joints if skeleton else names,
        moving=skeleton.moving if skeleton else (),
        score=scored,
    )


def show(found: Evaluation, console: Console) -> None:
    """Print the score as tables."""
    scored = found.score
    console.print(
        f"{found.checkpoint} (step {found.step}) on {found.data}: "
        f"{scored.clips} clips, {scored.frames:,} frames"
    )
    whole = quiet_table("", "reconstruction", "mean pose")
    figures = scored.summary()
    if scored.mpjpe is not None:
        mpjpe, of_mean = f"{scored.mpjpe:.3f}", f"{scored.mpjpe_mean_pose:.3f}"
        whole.add_row(f"MPJPE, {found.unit}", mpjpe, of_mean)
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


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    return run_evaluation(argv, trainer="rvq", evaluate=evaluate, tables=show)


if __name__ == "__main__":
    run_main(main)
