"""The config sections that every trainer has. Torch-free: the modules they configure are not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from trainers.engine.config.fields import setting
from trainers.engine.errors import ConfigError

Count = Annotated[int, Ge(1)]
Decay = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The folder of a run, and what it starts from."""

    exp_name: str = setting("run", "name of the run")
    out_dir: Path | None = setting(None, "folder of the run; none: experiments/EXP_NAME")
    resume: str = setting(
        "none",
        "auto: from the last valid checkpoint; none; or a checkpoint's or a run's folder",
        switch=("auto", "none"),
    )
    seed: Annotated[int, Ge(0)] = setting(42, "seed of everything random")
    dry_run: bool = setting(
        False, "one step's forward and backward pass, then the end; nothing is saved"
    )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out_dir or Path("experiments") / self.exp_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long to train, in what batches, and what to do meanwhile. Iterations are steps."""

    total_iter: Count | None = setting(
        None, "steps to train; the end of epochs may come first", also=("steps", "max_steps")
    )
    epochs: Count | None = setting(
        None, "passes over the data; the end of total_iter may come first", also=("num_epochs",)
    )
    batch_size: Count = setting(
        32, "samples per GPU and forward pass; with global_batch no more than this"
    )
    accumulate: Count = setting(1, "forward passes per step")
    global_batch: Count | None = setting(
        None, "samples per step over all GPUs, however many there are; fixes accumulate"
    )
    print_iter: Count = setting(
        100, "steps between two lines of figures", also=("log_step", "log_every")
    )
    eval_iter: Count = setting(1000, "steps between two evaluations")
    eval_epochs: Count | None = setting(
        None, "epochs between two evaluations, in place of eval_iter"
    )
    save_iter: Count = setting(1000, "steps between two checkpoints", also=("save_step",))
    save_epochs: Count | None = setting(
        None, "epochs between two checkpoints that are never removed, beside those of save_iter"
    )
    keep: Count | Literal["all"] = setting(3, "newest checkpoints kept, beside the best")
    keep_every: Count | None = setting(
        None, "steps between two checkpoints that are never removed, beside those of save_iter"
    )
    sample_iter: Count | None = setting(
        None, "steps between two drawings of samples; none: no drawing", also=("sample_step",)
    )
    mixed_precision: Literal["off", "auto", "bf16", "fp16"] = setting(
        "off",
        "arithmetic of the forward pass; auto: the best this device has",
        switch=("auto", "off"),
    )
    gradient_checkpointing: bool = setting(
        False, "compute activations again in the backward pass instead of keeping them"
    )
    monitor: str = setting("loss", "evaluation metric that decides on best and on early stopping")
    monitor_mode: Literal["min", "max"] = setting("min", "whether less or more of it is better")
    patience: Count | None = setting(None, "evaluations without a new best before training stops")

    def __post_init__(self) -> None:
        if self.global_batch is not None and self.accumulate != 1:
            msg = "loop.global_batch and loop.accumulate fix the same thing: give only one of them"
            raise ConfigError(msg)

    def accumulation(self, world_size: int) -> int:
        """Forward passes per step: given, or as many as ``global_batch`` needs.

        If ``global_batch`` is not a multiple of ``batch_size * world_size``, passes differ by one
        sample. None is empty, so a very small batch may hold one sample more than ``batch_size``.

        Raises:
            ConfigError: ``global_batch`` is less than the number of ranks.
        """
        if self.global_batch is None:
            return self.accumulate
        if self.global_batch < world_size:
            msg = f"loop.global_batch {self.global_batch} leaves some of {world_size} ranks without"
            raise ConfigError(msg)
        needed = -(-self.global_batch // (self.batch_size * world_size))
        return min(needed, self.global_batch // world_size)

    def samples_per_step(self, world_size: int) -> int:
        """The global batch: given, or ``batch_size * world_size * accumulate``."""
        return self.global_batch or self.batch_size * world_size * self.accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW and its learning rate over the steps."""

    lr: Annotated[float, Gt(0)] = setting(2e-4, "learning rate", also=("learning_rate",))
    weight_decay: Annotated[float, Ge(0)] = setting(0.01, "decoupled weight decay")
    betas: tuple[Decay, Decay] = setting((0.9, 0.99), "decay rates of the two moments")
    decay_norms: bool = setting(
        True, "weight decay for biases and norms too, the parameters of less than two dimensions"
    )
    grad_clip: Annotated[float, Gt(0)] | None = setting(
        1.0, "largest norm of the gradient", also=("gradient_clip", "max_grad_norm")
    )
    warmup_iter: Annotated[int, Ge(0)] = setting(
        0, "steps over which lr rises from 0, linearly", also=("warmup_steps",)
    )
    schedule: Literal["multistep", "cosine", "constant"] = setting("multistep", "lr over the steps")
    lr_scheduler: tuple[Count, ...] = setting((), "multistep: milestones at which lr drops")
    gamma: Annotated[float, Gt(0)] = setting(0.1, "multistep: factor of each drop")
    min_lr_ratio: Annotated[float, Ge(0)] = setting(0.01, "cosine: last lr as a share of lr")
    scale_lr: bool = setting(False, "scale lr linearly with the global batch")
    reference_batch: Count = setting(256, "scale_lr: the global batch that lr was chosen for")
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = setting(
        None, "keep a moving average of the weights with this decay"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    """How batches reach the training loop."""

    num_workers: Annotated[int, Ge(0)] = setting(0, "processes that prepare batches; 0: none")
    prefetch: Count = setting(2, "batches that each worker prepares ahead")
