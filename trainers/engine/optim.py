"""Optimizer, learning rate over the steps, precision, and the moving average of the weights."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer

    from trainers.engine.config.sections import LoopConfig, OptimConfig

log = logging.getLogger("trainers")


def build_optimizer(
    model: nn.Module,
    optim: OptimConfig,
    *,
    samples_per_step: int,
    factors: Mapping[str, float] | None = None,
) -> AdamW:
    """Build AdamW over the parameters that train, in its fused form.

    ``factors`` multiply the learning rate of the parameters whose names begin so, such as
    ``{"text_encoder.": 0.1}``; the first that fits counts.
    """
    lr = optim.lr
    if optim.scale_lr:
        lr *= samples_per_step / optim.reference_batch
        sizes = (samples_per_step, optim.reference_batch)
        log.info("lr %g x %d / %d samples per step = %g", optim.lr, *sizes, lr)
    by_kind: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fitting = (f for prefix, f in (factors or {}).items() if name.startswith(prefix))
            decays = optim.decay_norms or parameter.ndim > 1
            by_kind.setdefault((next(fitting, 1.0), decays), []).append(parameter)
    groups = [
        {"params": parameters, "lr": lr * factor, "weight_decay": decays * optim.weight_decay}
        for (factor, decays), parameters in by_kind.items()
    ]
    groups.sort(key=lambda group: group["lr"] != lr)  # the first group's lr is the one reported
    return AdamW(groups, lr, optim.betas, weight_decay=optim.weight_decay, fused=True)


def build_schedule(optimizer: Optimizer, optim: OptimConfig, total_steps: int) -> LambdaLR:
    """The learning rate as a closed form of the step, so that a resumed run computes the same.

    A warning names milestones that the run never reaches or that its schedule does not use.
    """
    if optim.lr_scheduler and optim.schedule != "multistep":
        unused = "lr_scheduler: the milestones do nothing with schedule %s; they need multistep"
        log.warning(unused, optim.schedule)
    elif late := [str(m) for m in optim.lr_scheduler if m >= total_steps]:
        log.warning(
            "lr_scheduler: milestone%s %s will not be reached, the run ends at step %d",
            *("s" if len(late) > 1 else "", ", ".join(late), total_steps),
        )
    return LambdaLR(optimizer, lr_factor(optim, total_steps))


def lr_factor(optim: OptimConfig, total_steps: int) -> Callable[[int], float]:
    """Return the factor of lr at a step, counted from 0: warm-up times schedule."""
    milestones = sorted(optim.lr_scheduler)
    warmup = optim.warmup_iter

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if optim.schedule == "multistep":
            return warm * optim.gamma ** bisect_right(milestones, step)
        if optim.schedule == "cosine":
            done = min(1.0, max(0, step - warmup) / max(1, total_steps - warmup))
            low = optim.min_lr_ratio
            return warm * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)
        return warm

    return factor


def rewind(schedule: LambdaLR, step: int) -> None:
    """Set the schedule, and with it the optimizer's lr, to its value after ``step`` steps."""
    schedule.last_epoch = step
    groups = schedule.optimizer.param_groups
    for group, base, factor in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["lr"] = base * factor(step)


def build_ema(model: nn.Module, optim: OptimConfig) -> AveragedModel | None:
    """Build a moving average of the weights that begins with the model's; buffers are copied.

    After n updates the decay is ``min(ema_decay, (1 + n) / (10 + n))``: a short run is not judged
    by the weights that it began with.
    """
    if optim.ema_decay is None:
        return None
    largest = optim.ema_decay

    @torch.no_grad()
    def average_in(averages: Any, weights: Any, _updates: Any) -> None:
        n = int(average.n_averaged)  # on the CPU: the argument is its copy on the GPU
        decay = min(largest, (1 + n) / (10 + n))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    average = AveragedModel(model, multi_avg_fn=average_in)
    return average.requires_grad_(requires_grad=False)


def autocast_dtype(loop: LoopConfig, device: torch.device) -> torch.dtype | None:
    """Return the type of the forward pass's arithmetic; ``None`` for float32 throughout.

    Raises:
        ConfigError: the device does not have the one that is asked for.
    """
    wanted = loop.mixed_precision
    on_gpu = device.type == "cuda"
    if wanted == "auto":
        if not on_gpu:
            return None
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if good else torch.float16
    if wanted == "fp16" and not on_gpu:
        raise ConfigError("loop.mixed_precision fp16 needs a GPU; on a CPU there is bf16")
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def build_scaler(loop: LoopConfig, device: torch.device) -> GradScaler | None:
    """Build the loss scaler for float16; nothing else needs one."""
    if autocast_dtype(loop, device) is not torch.float16:
        return None
    return torch.amp.GradScaler(device.type)
