"""What is due between steps: evaluating, saving and drawing samples."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from gpuops import heartbeat
from trainers.engine.checkpoint import checkpoint
from trainers.engine.checkpoint.state import capture_rng, restore_rng
from trainers.engine.distributed import broadcast_object
from trainers.engine.metrics import judge, out_of_patience
from trainers.engine.progress import format_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.config.sections import LoopConfig
    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs

    Evaluate = Callable[[int], dict[str, float]]
    Sample = Callable[[int], None]

log = logging.getLogger("trainers")


@dataclass(slots=True, kw_only=True)
class Upkeep:
    """Evaluates, saves and draws samples when the settings say so, and at the end."""

    state: TrainState
    outputs: Outputs
    world: World
    config: LoopConfig
    evaluate: Evaluate | None
    sample: Sample | None
    total: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    saved: Path | None = None

    def is_due(self) -> bool:
        """Whether there is anything to do after this step."""
        return self._is_save_due() or self._is_evaluation_due() or self._is_sample_due()

    def do(self, *, stopping: bool) -> None:
        """Evaluate, save and draw samples, as is due.

        A run that stops saves at once; the one that goes on from there evaluates.
        """
        better = self._is_evaluation_due() and not stopping and self._evaluate_and_compare()
        ended = stopping or out_of_patience(self.state, self.config)
        if better or ended or self._is_save_due():
            self._save()
        if self._is_sample_due() and not stopping:
            self._draw()

    def catch_up(self) -> None:
        """Do the evaluation that was due when the run was stopped."""
        if self.state.step and self._is_evaluation_due():
            self._evaluate_and_compare()
            self._save()

    def _is_due_for(self, every: int | None) -> bool:
        return every is not None and self.state.step % every == 0

    def _is_last(self) -> bool:
        return self.state.step == self.total

    def _is_kept_for_good(self) -> bool:
        """Whether a checkpoint of this step is at a cadence that is never pruned."""
        config = self.config
        return self._is_due_for(config.keep_every) or self.state.ends_epochs(config.save_epochs)

    def _is_save_due(self) -> bool:
        due = self._is_due_for(self.config.save_iter)
        return due or self._is_last() or self._is_kept_for_good()

    def _is_evaluation_due(self) -> bool:
        if self.evaluate is None or self.state.evaluated_step == self.state.step:
            return False
        config = self.config
        due = (
            self._is_due_for(config.eval_iter)
            if config.eval_epochs is None
            else self.state.ends_epochs(config.eval_epochs)
        )
        return due or self._is_last()

    def _is_sample_due(self) -> bool:
        every = self.config.sample_iter
        is_wanted = self.sample is not None and every is not None
        return is_wanted and (self._is_due_for(every) or self._is_last())

    def _evaluate_and_compare(self) -> bool:
        assert self.evaluate is not None  # noqa: S101 - for the type checker
        state = self.state
        with self._model_in_eval_mode():
            metrics = self.evaluate(state.step)
        # The ranks may differ in the last bit; they must not differ in what they decide.
        self.metrics = broadcast_object(metrics, self.world)
        state.evaluated_step = state.step
        better = judge(state, self.metrics, self.config)
        epoch = state.current_epoch
        self.history.append({"step": state.step, "epoch": epoch, **self.metrics})
        self.outputs.figures(state.step, "val", self.metrics, epoch=epoch, total_steps=self.total)
        mark = " · best" if better else ""
        log.info("step %d · evaluation · %s%s", state.step, format_figures(self.metrics), mark)
        return better

    def _draw(self) -> None:
        if self.sample is None or not self.world.is_first:
            return
        step = self.state.step
        try:
            with self._model_in_eval_mode():
                self.sample(step)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training is worth more
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("no samples of step %d could be drawn: %s", step, reason)

    @contextmanager
    def _model_in_eval_mode(self) -> Iterator[None]:
        """Inside, the model is in eval mode without gradients; its training is not affected."""
        state, device = self.state, self.world.device
        heartbeat.beat(state.step, total_steps=self.total, phase="evaluate")
        rng = capture_rng(device)
        state.model.eval()
        if state.ema is not None:
            state.ema.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            state.model.train()
            restore_rng(rng, device)

    def _save(self) -> None:
        heartbeat.beat(self.state.step, total_steps=self.total, phase="save")
        self.saved = checkpoint.save(
            self.state,
            self.outputs,
            self.world,
            keep=self.config.keep,
            metrics=self.metrics,
            kept=self._is_kept_for_good(),
        )
