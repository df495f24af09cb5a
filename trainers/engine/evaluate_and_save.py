"""What is due between steps: evaluating and saving."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from gpuops import heartbeat
from trainers.engine.checkpoint import checkpoint
from trainers.engine.checkpoint.state import capture_rng, restore_rng
from trainers.engine.distributed import broadcast_object
from trainers.engine.metrics import judge, out_of_patience
from trainers.engine.progress import in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.config.sections import LoopConfig
    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs

    Evaluate = Callable[[int], dict[str, float]]

log = logging.getLogger("trainers")


class Upkeep:
    """Evaluates and saves a run where its settings say so, or where it ends."""

    def __init__(
        self,
        state: TrainState,
        outputs: Outputs,
        world: World,
        config: LoopConfig,
        evaluate: Evaluate | None,
        total: int,
    ) -> None:
        self.metrics: dict[str, float] = {}
        self.saved: Path | None = None
        self._state = state
        self._outputs = outputs
        self._world = world
        self._config = config
        self._evaluate = evaluate
        self._total = total

    def is_due(self) -> bool:
        """Whether there is anything to do after this step."""
        return self._is_due_for(self._config.save_iter) or self._is_evaluation_due()

    def do(self, *, stopping: bool) -> None:
        """Evaluate and save, as is due. Who stops saves at once; its successor evaluates."""
        better = self._is_evaluation_due() and not stopping and self._judged_better()
        ended = stopping or out_of_patience(self._state, self._config)
        if better or ended or self._is_due_for(self._config.save_iter):
            self._save()

    def catch_up(self) -> None:
        """Do the evaluation that a run which was stopped has left."""
        if self._state.step and self._is_evaluation_due():
            self._judged_better()
            self._save()

    def _is_due_for(self, every: int) -> bool:
        return self._state.step % every == 0 or self._state.step == self._total

    def _is_evaluation_due(self) -> bool:
        return (
            self._evaluate is not None
            and self._state.evaluated_step != self._state.step
            and self._is_due_for(self._config.eval_iter)
        )

    def _judged_better(self) -> bool:
        assert self._evaluate is not None  # noqa: S101 - for the type checker
        state, device = self._state, self._world.device
        heartbeat.beat(state.step, total_steps=self._total, phase="evaluate")
        rng = capture_rng(device)
        state.model.eval()
        if state.ema is not None:
            state.ema.eval()
        with torch.no_grad():
            metrics = self._evaluate(state.step)
        state.model.train()
        restore_rng(rng, device)
        # The ranks may differ in the last bit; they must not differ in what they decide.
        self.metrics = broadcast_object(metrics, self._world)
        state.evaluated_step = state.step
        better = judge(state, self.metrics, self._config)
        self._outputs.figures(state.step, "val", self.metrics, total_steps=self._total)
        mark = " · best" if better else ""
        log.info("step %d · evaluation · %s%s", state.step, in_words(self.metrics), mark)
        return better

    def _save(self) -> None:
        heartbeat.beat(self._state.step, total_steps=self._total, phase="save")
        self.saved = checkpoint.save(
            self._state,
            self._outputs,
            self._world,
            keep=self._config.keep,
            metrics=self.metrics,
        )
