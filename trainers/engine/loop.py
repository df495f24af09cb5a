"""The training loop: one plain function over a state, a stream of batches and a loss."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from gpuops import heartbeat
from trainers.engine import checkpoint
from trainers.engine.agreement import Agreement, stop_on_signal
from trainers.engine.data import to_device
from trainers.engine.distributed import broadcast_object
from trainers.engine.errors import ConfigError
from trainers.engine.metrics import judge, out_of_patience
from trainers.engine.optim import autocast_dtype
from trainers.engine.progress import Progress, in_words
from trainers.engine.state import capture_rng, restore_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor, nn
    from torch.amp import GradScaler

    from trainers.engine.distributed import World
    from trainers.engine.run import Outputs
    from trainers.engine.sections import LoopConfig
    from trainers.engine.state import TrainState

    Losses = Callable[[nn.Module, Any], dict[str, Tensor]]
    Evaluate = Callable[[int], dict[str, float]]

log = logging.getLogger("trainers")
_NOTHING = nullcontext()


class BatchSource(Protocol):
    """Where batches come from; ``data.Batches`` is one."""

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""

    def stream(self, epoch: int, start: int) -> Iterator[Any]:
        """Batches from number ``start`` of ``epoch`` on, without an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """How a run ended. ``stopped_by`` is the signal that stopped it before its end, if one did;
    the losses are the first and the last step's of this process, ``seconds`` those of training."""

    step: int
    total_steps: int
    first_loss: float | None
    last_loss: float | None
    metrics: dict[str, float]
    seconds: float
    stopped_by: int | None

    @property
    def exit_code(self) -> int:
        """0; after a signal 128 + its number, unless a launcher above knows about it anyway."""
        return 0 if self.stopped_by is None or "RANK" in os.environ else 128 + self.stopped_by


def total_steps(config: LoopConfig, batches: BatchSource, world: World) -> int:
    """The steps of the whole run: ``total_iter`` or ``epochs``, whichever ends first."""
    ends = [] if config.total_iter is None else [config.total_iter]
    if config.epochs is not None:
        accumulate = config.accumulation(world.world_size)
        ends.append(max(1, config.epochs * batches.per_epoch // accumulate))
    if not ends:
        msg = "loop.total_iter and loop.epochs are both none: the run would have no end"
        raise ConfigError(msg)
    return min(ends)


def fit(
    state: TrainState,
    batches: BatchSource,
    losses: Losses,
    *,
    config: LoopConfig,
    grad_clip: float | None,
    world: World,
    outputs: Outputs,
    evaluate: Evaluate | None = None,
    after_step: Callable[[int], None] | None = None,
) -> FitResult:
    """Train from where the state stands to the end of the run.

    ``losses(model, batch)`` gives the scalar to minimise as "loss" and others to report; a step's
    loss is the mean over its batches and over ranks. ``evaluate(step)`` runs on all ranks in eval
    mode, without gradients, with the random state put aside. ``after_step(step)`` follows each
    optimizer step, before anything is saved.

    Whatever is not finite, on any rank, ends the run on all of them with a TrainerError, before
    the optimizer steps (on GPUs one step later, but before anything is saved). SIGTERM or SIGINT
    to any rank ends it after the step at hand, with a checkpoint.
    """
    total = total_steps(config, batches, world)
    accumulate = config.accumulation(world.world_size)
    state.enter(batches.per_epoch)
    trained = [p for group in state.optimizer.param_groups for p in group["params"]]
    dtype = autocast_dtype(config, world.device)
    cast = torch.autocast(world.device.type, dtype) if dtype else _NOTHING
    progress = Progress(outputs, config, total)
    upkeep = _Upkeep(state, outputs, world, config, evaluate, total)
    stopped_by: int | None = None

    heartbeat.beat(state.step, total_steps=total, phase="start")
    with stop_on_signal() as stop:
        agreement = Agreement(world, stop)
        with progress.paused():
            upkeep.catch_up()
        stream = batches.stream(state.epoch, state.batch)
        state.model.train()
        while state.step < total and not out_of_patience(state, config):
            # ------------------------------------------------------------- one step
            values: dict[str, Tensor] = {}
            for left in reversed(range(accumulate)):
                asked = perf_counter()
                batch = to_device(next(stream), world.device)
                progress.waited(perf_counter() - asked)
                with _gradients_stay_here(state.model) if left else _NOTHING:
                    with cast:
                        parts = losses(state.model, batch)
                    _backward(parts["loss"], accumulate, state.scaler)
                _add(values, parts, accumulate)
            if grad_clip is not None:
                if state.scaler is not None:
                    state.scaler.unscale_(state.optimizer)
                norm = clip_grad_norm_(trained, grad_clip)
                if state.scaler is None:  # with a scaler, it is a step to skip, not a failure
                    values["grad_norm"] = norm
            report = agreement.send(state.step + 1, values)
            lr = state.optimizer.param_groups[0]["lr"]
            _update(state)
            state.advance(accumulate)
            if after_step is not None:
                after_step(state.step)
            progress.step_done(state.step, report, lr)
            # ----------------------------------------------------------------------
            if report is not None:
                stopped_by = report.stop
            if stopped_by is None and not upkeep.is_due():
                continue
            late = agreement.flush()
            if late is not None:
                progress.note(late)
                stopped_by = stopped_by or late.stop
            with progress.paused():
                upkeep.do(stopping=stopped_by is not None)
            if stopped_by is not None:
                break
        del stream  # and its workers

    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        log.info("stopped at step %d by %s, checkpoint saved in %s", state.step, name, upkeep.saved)
    elif state.step < total:
        log.info("stopped early at step %d: nothing better since step %s", state.step, state.best_step)
    else:
        log.info("done: %d steps, checkpoint in %s", state.step, upkeep.saved or outputs.checkpoints)
    heartbeat.beat(state.step, total_steps=total, loss=progress.last_loss, phase="done")
    return FitResult(
        step=state.step,
        total_steps=total,
        first_loss=progress.first_loss,
        last_loss=progress.last_loss,
        metrics=upkeep.metrics,
        seconds=progress.train_s,
        stopped_by=stopped_by,
    )


class _Upkeep:
    """What is due between steps: evaluating and saving."""

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
        self.saved: object = None
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


def _gradients_stay_here(model: nn.Module) -> AbstractContextManager[None]:
    """Gradients of all but a step's last batch are added up before ranks exchange them."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else _NOTHING  # type: ignore[no-any-return]


def _backward(loss: Tensor, accumulate: int, scaler: GradScaler | None) -> None:
    if accumulate > 1:
        loss = loss / accumulate
    if scaler is not None:
        loss = scaler.scale(loss)
    loss.backward()  # type: ignore[no-untyped-call]


def _add(values: dict[str, Tensor], parts: dict[str, Tensor], accumulate: int) -> None:
    """Add a batch's share to the means of a step."""
    for name, part in parts.items():
        share = part.detach() if accumulate == 1 else part.detach() / accumulate
        values[name] = values[name] + share if name in values else share


def _update(state: TrainState) -> None:
    if state.scaler is None:
        state.optimizer.step()
    else:
        state.scaler.step(state.optimizer)
        state.scaler.update()
    state.schedule.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update_parameters(state.bare)
