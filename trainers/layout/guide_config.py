"""The JSON file of the public LayoutMaster, as settings of ours.

Source of the schema: config_data_action_head.json of github.com/JiazheWei/LayoutMaster (32f1ad1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainers.engine.config.translate import Translation, Unused, rename
from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainers.engine.config.translate import Target

GPUS = 8  # of the guide: its batch and its workers are sums over them
BACKBONE = Unused(
    "the public code names it and never loads it; --visual-encoder FOLDER takes a vision model"
)
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}


def _optimizer(values: Mapping[str, Any]) -> dict[str, Any]:
    """The lowest learning rate is a share of the highest in our settings."""
    given = dict(values)
    given.pop("freeze_visual", None)
    ours: dict[str, Any] = {}
    if "min_lr" in given:
        lowest, highest = given.pop("min_lr"), given.get("lr")
        if not isinstance(highest, (int, float)) or not isinstance(lowest, (int, float)):
            raise ConfigError("optimizer.min_lr and optimizer.lr must be numbers")
        if not highest > 0:
            raise ConfigError("optimizer.lr must be more than 0")
        ours["optim.min_lr_ratio"] = lowest / highest
    return ours | {f"optim.{name}": value for name, value in given.items()}


def _share_of_workers(count: Any) -> dict[str, Any]:
    if not isinstance(count, int):
        raise ConfigError(f"data.num_workers is {count}; a whole number is wanted")
    return {"loader.num_workers": -(-count // GPUS)}


def _rest(share: Any) -> dict[str, Any]:
    if not isinstance(share, (int, float)):
        raise ConfigError(f"data.train_ratio is {share}; a number is wanted")
    return {"dataset.val_share": round(1 - share, 6)}


def _linear_betas(name: str) -> Target:
    def same(value: Any) -> dict[str, Any]:
        if value != BETAS[name]:
            raise ConfigError(f"diffusion.{name} must be {BETAS[name]}, the file wants {value}")
        return {}

    return same


TABLE: Mapping[str, Target] = {
    "project_name": Unused("a run has one name"),
    "run_name": "run.exp_name",
    "device": Unused("gpuops launch says which GPUs"),
    "seed": "run.seed",
    "use_multi_gpu": Unused("all GPUs that it is launched on are used"),
    "data.use_trajectory_dataset": Unused("trajectories.pkl is never read: pickles can run code"),
    "data.data_root": "dataset.data",
    "data.train_ratio": _rest,
    "data.batch_size": "loop.global_batch",
    "data.num_workers": _share_of_workers,
    "data.image_size": "visual.image_size",
    "model.visual_backbone": BACKBONE,
    "model.visual_dim": Unused("see --visual-dim; a vision model has its own"),
    "model.hidden_dim": "model.width",
    "model.num_layers": "model.layers",
    "model.max_elements": "dataset.max_elements",
    "diffusion.num_timesteps": "diffusion.num_train_timesteps",
    "diffusion.beta_start": _linear_betas("beta_start"),
    "diffusion.beta_end": _linear_betas("beta_end"),
    "diffusion.schedule_type": "diffusion.noise_schedule",
    "diffusion.trajectory_steps": Unused("noise is drawn at every step"),
    "loss.noise_weight": Unused("the reconstruction has weight 1, as in the public code"),
    "loss.position_weight": "loss.loss_position",
    "loss.layer_weight": "loss.loss_layer",
    "loss.confidence_weight": "loss.loss_confidence",
    "loss.aesthetic_weight": "loss.loss_aesthetic",
    "loss.overlap_weight": "loss.loss_overlap",
    "loss.alignment_weight": "loss.loss_alignment",
    "optimizer": _optimizer,
    "training.num_epochs": "loop.epochs",
    "training.save_every": "loop.save_epochs",
    "training.max_grad_norm": "optim.grad_clip",
    "training.save_dir": Unused("checkpoints lie in the run's folder: see --out-dir"),
    "inference.num_steps": "diffusion.num_inference_steps",
    "canvas_size": Unused("every poster has a canvas of its own"),
    "max_elements": "dataset.max_elements",
    "use_swanlab": Unused("figures go to TensorBoard and metrics.jsonl"),
    "backbone_path": BACKBONE,
}


def translate(values: Mapping[str, Any], origin: str) -> Translation:
    """Return settings of ours for those of a file; our own spelling passes as it is."""
    return rename(values, TABLE, origin)
