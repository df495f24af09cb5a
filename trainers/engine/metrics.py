"""Means over all samples of all ranks, and which evaluation was the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from trainers.engine.distributed import all_reduce_sum
from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.config.sections import LoopConfig
    from trainers.engine.distributed import World


class Means:
    """Named means, exact over ranks: sums and counts are added up, never means of means.

    The names are fixed, so that a rank without samples takes its part in the reduction.
    """

    def __init__(self, names: tuple[str, ...], world: World) -> None:
        self._rows = {name: row for row, name in enumerate(names)}
        self._world = world
        # float64: a sum of millions of float32 values would lose the small ones.
        self._sums_N2 = torch.zeros(len(names), 2, dtype=torch.float64, device=world.device)

    def add(self, name: str, values: Tensor) -> None:
        """Add values, each of one sample."""
        self.add_sum(name, values.detach().sum(dtype=torch.float64), values.numel())

    def add_sum(self, name: str, total: Tensor | float, count: Tensor | float) -> None:
        """A sum of so many samples, or of so much weight; no GPU waits for it."""
        row = self._sums_N2[self._rows[name]]
        row[0] += total
        row[1] += count

    def reduce(self) -> dict[str, float]:
        """The means over all ranks, the same on each; a name without samples is left out."""
        sums = all_reduce_sum(self._sums_N2.clone(), self._world).tolist()
        return {
            name: sums[row][0] / sums[row][1] for name, row in self._rows.items() if sums[row][1]
        }


def reduce_sums(sums: Mapping[str, Tensor], world: World) -> dict[str, Tensor]:
    """Add up named tensors over all ranks by one reduction; on the CPU, the same on each rank.

    All are of one type and device, and of the same shapes on each rank.
    """
    fused = torch.cat([part.flatten() for part in sums.values()])
    flat = all_reduce_sum(fused, world).cpu().split([part.numel() for part in sums.values()])
    return {
        name: values.view(part.shape)
        for (name, part), values in zip(sums.items(), flat, strict=True)
    }


def judge(state: TrainState, metrics: Mapping[str, float], config: LoopConfig) -> bool:
    """Whether this evaluation is the best so far; the state counts those since the best.

    Raises:
        TrainerError: the evaluation lacks the metric that is monitored.
    """
    if config.monitor not in metrics:
        names = ", ".join(sorted(metrics)) or "nothing"
        raise TrainerError(f"loop.monitor is {config.monitor}, but an evaluation gives {names}")
    value = metrics[config.monitor]
    sign = 1.0 if config.monitor_mode == "min" else -1.0
    # Not ">=": NaN is never an improvement, and the first value always is.
    better = value == value and (state.best is None or sign * value < sign * state.best)  # noqa: PLR0124
    if better:
        state.best, state.best_step, state.bad_evaluations = value, state.step, 0
    else:
        state.bad_evaluations += 1
    return better


def out_of_patience(state: TrainState, config: LoopConfig) -> bool:
    """Whether so many evaluations brought nothing better that training should stop."""
    return config.patience is not None and state.bad_evaluations >= config.patience
