"""Train the RVQ-VAE: `python -m trainers.rvq.train FLAGS`, alone or under torchrun."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import torch

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import resolve
from trainers.engine.errors import run_main
from trainers.engine.loop import fit
from trainers.engine.prepare import prepare, session
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import MotionBatch, as_they_are, open_data, statistics_of
from trainers.rvq.losses import build_loss
from trainers.rvq.model import build_model
from trainers.rvq.score import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from trainers.rvq.model import RVQVAE

log = logging.getLogger("trainers")


def train(config: Config) -> int:
    """Train, and return the exit code."""
    with session(config, "rvq") as (world, outputs):
        train_data = open_data(config.dataset, "train")
        val_data = open_data(as_they_are(config.dataset), "val")
        statistics = statistics_of(train_data, config.dataset)
        outputs.attach("statistics.json", statistics.to_dict())
        about = {"train": train_data.describe(), "val": val_data.describe()}
        outputs.attach_data(about, counted="clips")

        model = build_model(config, statistics).to(world.device)
        loss = build_loss(config.loss, model, train_data.skeleton).to(world.device)
        state, batches = prepare(
            model,
            config,
            world,
            lengths=train_data.windows.padded,
            load=train_data.load,
            frames_per_batch=config.dataset.frames_per_batch,
        )
        hop = model.hop
        mean_pose = torch.from_numpy(statistics.baseline).to(world.device)
        log.info("%s", _describe_training(about["train"], model))
        checkpoint.resume(state, config.run.resume, outputs, world)

        def losses(model: nn.Module, batch: MotionBatch) -> dict[str, Tensor]:
            found = model(batch.features, batch.mask)
            parts: dict[str, Tensor] = loss(found, batch.mask, batch.shares(hop))
            return parts

        def learn_codes(_step: int) -> None:
            model.quantizer.update_(world)

        def evaluate(_step: int) -> dict[str, float]:
            judged = cast("RVQVAE", state.judged)
            return score(judged, val_data, loss, mean_pose, world).summary()

        result = fit(
            state,
            batches,
            losses,
            config=config.loop,
            grad_clip=config.optim.grad_clip,
            world=world,
            outputs=outputs,
            evaluate=evaluate,
            after_step=learn_codes,
        )
    return result.exit_code


def _describe_training(data: dict[str, Any], model: nn.Module) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    return (
        f"{data['source']}: {data['clips']} clips, {data['frames']:,} frames, "
        f"{data['windows']:,} windows, {data['rotation']}; model of {parameters / 1e6:.2f} M"
    )


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    return train(resolve(Config, argv, name="rvq", presets=PRESETS))


if __name__ == "__main__":
    run_main(main)
