"""The whole state of a training run at a step: what a resumed run must restore exactly."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from trainers.engine.optim import rewind

if TYPE_CHECKING:
    from torch import nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.swa_utils import AveragedModel

_POSITION = ("step", "epoch", "batch", "per_epoch")
_COUNTERS = (*_POSITION, "best", "best_step", "bad_evaluations", "evaluated_step")


@dataclass(slots=True, kw_only=True)
class TrainState:
    """A run in progress. The next batch to train on is ``batch`` of ``epoch``."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LambdaLR
    scaler: GradScaler | None
    ema: AveragedModel | None = None
    step: int = 0
    epoch: int = 0
    batch: int = 0
    per_epoch: int = 0
    best: float | None = None
    best_step: int | None = None
    bad_evaluations: int = 0
    evaluated_step: int = 0

    @property
    def bare(self) -> nn.Module:
        """The model without what ``replicate`` put around it."""
        model = self.model
        return model.module if isinstance(model, DistributedDataParallel) else model

    @property
    def judged(self) -> nn.Module:
        """The model to evaluate and to draw samples from: the average if there is one."""
        return self.bare if self.ema is None else self.ema.module

    @property
    def current_epoch(self) -> int:
        """The epoch of the last step, counted from 1; 0 before the first."""
        return self.epoch + (self.batch > 0)

    def ends_epochs(self, every: int | None) -> bool:
        """Whether the last step was the last of an epoch whose number is a multiple of this."""
        return every is not None and self.batch == 0 < self.epoch and self.epoch % every == 0

    def enter(self, per_epoch: int) -> None:
        """Convert the position to epochs of ``per_epoch`` steps.

        With another global batch an epoch has fewer or more steps than when the state was saved.
        """
        if self.per_epoch not in (0, per_epoch):
            self.batch = self.batch * per_epoch // self.per_epoch
        self.per_epoch = per_epoch

    def advance(self) -> None:
        """Count one step."""
        self.step += 1
        self.batch += 1
        if self.batch >= self.per_epoch:
            self.batch -= self.per_epoch
            self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all but the weights, as values that ``torch.load(weights_only=True)`` takes."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "ema_updates": int(self.ema.n_averaged) if self.ema else None,
            "counters": {name: getattr(self, name) for name in _COUNTERS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned.

        Learning rate, weight decay and the like stay those of the present config, so that resuming
        with another ``--lr`` changes it.

        Raises:
            ValueError: the optimizer has other groups of parameters.
        """
        for name, value in saved["counters"].items():
            setattr(self, name, value)
        here = self.optimizer.state_dict()["param_groups"]
        groups = [
            {**new, "params": old["params"]}
            for new, old in zip(here, saved["optimizer"]["param_groups"], strict=True)
        ]
        self.optimizer.load_state_dict(
            {"state": saved["optimizer"]["state"], "param_groups": groups}
        )
        rewind(self.schedule, self.step)
        if self.scaler and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        if self.ema and saved["ema_updates"] is not None:
            self.ema.n_averaged.fill_(saved["ema_updates"])


def capture_rng(device: torch.device) -> dict[str, Any]:
    """Return the state of every random generator that training on this rank draws from."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_rng(rng: dict[str, Any], device: torch.device) -> None:
    """Set every random generator to the state that ``capture_rng`` returned."""
    random.setstate(rng["python"])
    kind, keys, *rest = rng["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(rng["torch"])
    if rng["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(rng["cuda"], device)
