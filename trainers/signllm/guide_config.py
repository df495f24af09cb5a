"""The JSON files of the public SignLLM code, in both of their schemas, as settings of ours.

Source of the schemas: configs/signllm_*.json of github.com/zhuchengyao/SignEggRoll (2b8d75a).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainers.engine.config.translate import Translation, Unused, rename
from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainers.engine.config.translate import Target

VALUES = 150
ONE_WIDTH = Unused("all parts have the width of the pose decoder")
VOCABULARY = Unused("the glosses of the training sentences are the vocabulary")
TENSORBOARD = Unused("TensorBoard events are always written")
WANDB = Unused("figures go to TensorBoard and metrics.jsonl")


def _of_150(value: Any) -> dict[str, Any]:
    if value != VALUES:
        raise ConfigError(f"poses have {VALUES} values a frame, the file wants {value}")
    return {}


def _one_folder(folders: Any) -> dict[str, Any]:
    """The folder of all languages: the public code names one for each, and they are the same."""
    given = sorted({str(folder) for folder in folders.values()} if folders else [])
    if len(given) != 1:
        raise ConfigError(
            f"data.data_dirs names {len(given)} folders: {', '.join(given) or 'none'}; "
            "one folder with a folder for each language is wanted"
        )
    return {"dataset.data": given[0]}


TABLE: Mapping[str, Target] = {
    "model.languages": Unused("the languages of the data are those of the model"),
    "model.gloss_vocab_size": VOCABULARY,
    "model.hidden_dim": "model.width",
    "model.pose_dim": _of_150,
    "model.text_encoder.model_name": "text.text_encoder",
    "model.text_encoder.max_length": "text.max_length",
    "model.text_encoder.hidden_dim": Unused("the encoder's folder says how wide it is"),
    "model.gloss_encoder.vocab_size": VOCABULARY,
    "model.gloss_encoder.embedding_dim": ONE_WIDTH,
    "model.gloss_encoder.hidden_dim": ONE_WIDTH,
    "model.gloss_encoder.num_layers": "model.gloss_layers",
    "model.pose_decoder.input_dim": ONE_WIDTH,
    "model.pose_decoder.hidden_dim": "model.width",
    "model.pose_decoder.output_dim": _of_150,
    "model.pose_decoder.num_layers": "model.layers",
    "model.pose_decoder.dropout": "model.dropout",
    "model.priority_learning.enabled": lambda on: {} if on else {"loss.loss_rl": 0.0},
    "model.priority_learning.alpha": "loss.rl_alpha",
    "model.priority_learning.beta": "loss.rl_beta",
    "data.dataset_path": "dataset.data",
    "data.data_dirs": _one_folder,
    "data.languages": "dataset.languages",
    "data.splits.train": "dataset.train_split",
    "data.splits.val": "dataset.val_split",
    "data.batch_size": "loop.batch_size",
    "data.max_frames": "dataset.max_frames",
    "data.max_sequence_length": "dataset.max_frames",
    "data.num_workers": "loader.num_workers",
    "data.pose_dim": Unused("poses have 150 values a frame; the public code does not read it"),
    "training.mode": "model.mode",
    "training.epochs": "loop.epochs",
    "training.num_epochs": "loop.epochs",
    "training.learning_rate": "optim.lr",
    "training.weight_decay": "optim.weight_decay",
    "training.gradient_clip": "optim.grad_clip",
    "training.grad_clip": "optim.grad_clip",
    "training.use_scheduler": lambda on: {"optim.schedule": "cosine" if on else "constant"},
    "training.warmup_steps": "optim.warmup_iter",
    "training.log_interval": "loop.print_iter",
    "training.val_interval": "loop.eval_epochs",
    "training.save_interval": "loop.save_epochs",
    "training.eval_every": "loop.eval_epochs",
    "training.save_every": "loop.save_epochs",
    "optimizer.type": Unused("the optimizer is AdamW"),
    "optimizer.lr": "optim.lr",
    "optimizer.weight_decay": "optim.weight_decay",
    "optimizer.betas": "optim.betas",
    "scheduler.type": "optim.schedule",
    "scheduler.eta_min": Unused("optim.min_lr_ratio says where a cosine ends"),
    "loss.use_rl_loss": lambda on: {} if on else {"loss.loss_rl": 0.0},
    "loss.alpha": "loss.rl_alpha",
    "loss.beta": "loss.rl_beta",
    "checkpoint.save_dir": Unused("checkpoints lie in the run's folder: see --out-dir"),
    "checkpoint.resume_from": lambda path: {} if path is None else {"run.resume": path},
    "logging.log_dir": Unused("the log lies in the run's folder: see --out-dir"),
    "logging.log_every": "loop.print_iter",
    "logging.use_tensorboard": TENSORBOARD,
    "logging.use_wandb": WANDB,
    "evaluation.metrics": Unused("all metrics are always computed"),
    "evaluation.save_samples": Unused("see --sample-iter"),
    "evaluation.sample_dir": Unused("samples lie in the run's folder"),
    "output_dir": "run.out_dir",
    "seed": "run.seed",
    "use_wandb": WANDB,
    "use_tensorboard": TENSORBOARD,
    "wandb_project": WANDB,
    "experiment_name": "run.exp_name",
}


def translate(values: Mapping[str, Any], origin: str) -> Translation:
    """Return settings of ours for those of a file; our own spelling passes as it is."""
    return rename(values, TABLE, origin)
