"""The training loop: one plain function over a state, a stream of batches and a loss."""

from __future__ import annotations

import logging
import math
import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from gpuops import heartbeat
from trainers.engine.batches import to_device
from trainers.engine.errors import ConfigError
from trainers.engine.evaluate_and_save import Upkeep
from trainers.engine.malloc import keep_freed_memory
from trainers.engine.metrics import out_of_patience
from trainers.engine.optim import autocast_dtype
from trainers.engine.progress import Progress, format_figures
from trainers.engine.step_sync import StepSync, stop_on_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from torch import Tensor, nn

    from trainers.engine.batches import Batches
    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.config.sections import LoopConfig
    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs

    Losses = Callable[[nn.Module, Any], dict[str, Tensor]]
    Evaluate = Callable[[int], dict[str, float]]

log = logging.getLogger("trainers")
_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """How a run ended.

    ``stopped_by`` is the signal that stopped it before its end, if one did. The losses are the
    first and the last step's of this process, ``seconds`` those it trained. ``metrics`` are those
    of its last evaluation, ``history`` those of all of them, each with its ``step`` and ``epoch``.
    """

    step: int
    total_steps: int
    first_loss: float | None
    last_loss: float | None
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    seconds: float
    stopped_by: int | None

    @property
    def exit_code(self) -> int:
        """0; after a signal 128 + its number, unless a launcher started it, which knows."""
        return 0 if self.stopped_by is None or "RANK" in os.environ else 128 + self.stopped_by


def total_steps(config: LoopConfig, batches: Batches) -> int:
    """The steps of the whole run: ``total_iter`` or ``epochs``, whichever ends first."""
    epochs = None if config.epochs is None else config.epochs * batches.per_epoch
    ends = [end for end in (config.total_iter, epochs) if end is not None]
    if not ends:
        msg = "loop.total_iter and loop.epochs are both none: the run would have no end"
        raise ConfigError(msg)
    return min(ends)


def fit(
    state: TrainState,
    batches: Batches,
    losses: Losses,
    *,
    config: LoopConfig,
    grad_clip: float | None,
    world: World,
    outputs: Outputs,
    evaluate: Evaluate | None = None,
    sample: Callable[[int], None] | None = None,
    after_step: Callable[[int], None] | None = None,
) -> FitResult:
    """Train from the state's step to the end of the run.

    ``losses(model, batch)`` gives the scalar to minimise as "loss" and others to report; a step's
    loss is the mean over its passes and over ranks, weighted by their samples. ``evaluate(step)``
    runs on all ranks in eval mode, without gradients, with the random state put aside.
    ``sample(step)`` draws from the model every ``sample_iter`` steps in the same way, on rank 0
    alone: it must not wait for other ranks, and its failure is a warning.
    ``after_step(step)`` follows each optimizer step, before anything is saved.

    SIGTERM or SIGINT to any rank ends the run after the current step, with a checkpoint.

    Raises:
        TrainerError: a loss or a gradient is not finite on any rank. All ranks raise it, before the
            optimizer steps (on GPUs one step later, but before anything is saved).
        ConfigError: the run has no end.
    """
    total = total_steps(config, batches)
    state.enter(batches.per_epoch)
    if world.device.type == "cpu":
        keep_freed_memory()
    passes = Passes(state, losses, config, world)
    progress = Progress(state, outputs, config, total)
    if outputs.dry_run:
        return _dry_run(state, batches, passes, grad_clip, progress, total)
    upkeep = Upkeep(
        state=state,
        outputs=outputs,
        world=world,
        config=config,
        evaluate=evaluate,
        sample=sample,
        total=total,
    )
    stopped_by: int | None = None

    _warn_if_done(state, total)
    heartbeat.beat(state.step, total_steps=total, phase="start")
    with stop_on_signal() as stop:
        sync = StepSync(world, stop)
        with progress.paused():
            upkeep.catch_up()
        stream = batches.stream(state.epoch, state.batch)
        state.model.train()
        while state.step < total and not out_of_patience(state, config):
            # ------------------------------------------------------------- one step
            values = passes.gradients(stream, progress)
            passes.clip(grad_clip, values)
            report = sync.send(state.step + 1, values)
            lr = state.optimizer.param_groups[0]["lr"]
            update(state)
            passes.clear()
            state.advance()
            if after_step is not None:
                after_step(state.step)
            if state.ema is not None:  # after the buffers that after_step changes: it copies them
                state.ema.update_parameters(state.bare)
            progress.step_done(state.step, report, lr)
            # ----------------------------------------------------------------------
            if report is not None:
                stopped_by = report.stop
            if stopped_by is None and not upkeep.is_due():
                continue
            late = sync.flush()
            if late is not None:
                progress.note(late)
                stopped_by = stopped_by or late.stop
            with progress.paused():
                upkeep.do(stopping=stopped_by is not None)
            if stopped_by is not None:
                break
        del stream  # and with it its worker processes

    log.info("%s", _describe_end(state, total, stopped_by, upkeep.saved or outputs.checkpoints))
    heartbeat.beat(state.step, total_steps=total, loss=progress.last_loss, phase="done")
    return FitResult(
        step=state.step,
        total_steps=total,
        first_loss=progress.first_loss,
        last_loss=progress.last_loss,
        metrics=upkeep.metrics,
        history=tuple(upkeep.history),
        seconds=progress.train_s,
        stopped_by=stopped_by,
    )


class Passes:
    """The forward and backward passes of a step: they give its gradients and its losses."""

    def __init__(self, state: TrainState, losses: Losses, config: LoopConfig, world: World) -> None:
        self.count = config.accumulation(world.world_size)
        dtype = autocast_dtype(config, world.device)
        self._cast = torch.autocast(world.device.type, dtype) if dtype else _NOTHING
        self._model = state.model
        self._scaler = state.scaler
        self._optimizer = state.optimizer
        self._losses = losses
        self.world = world
        self._trained = [p for group in state.optimizer.param_groups for p in group["params"]]

    def gradients(self, stream: Iterator[Any], progress: Progress) -> dict[str, Tensor]:
        """Add up the gradients of a step's passes; return the means of their losses."""
        means: dict[str, Tensor] = {}
        for left in reversed(range(self.count)):
            asked = perf_counter()
            on_host, weight = next(stream)
            batch = to_device(on_host, self.world.device)
            progress.waited(perf_counter() - asked)
            with self._keeping_to_this_rank() if left else _NOTHING:
                with self._cast:
                    parts = self._losses(self._model, batch)
                counts = weight / self.count
                loss = parts["loss"] if counts == 1 else parts["loss"] * counts
                scaled = loss if self._scaler is None else self._scaler.scale(loss)
                scaled.backward()
            for name, part in parts.items():
                share = part.detach() if counts == 1 else part.detach() * counts
                means[name] = means[name] + share if name in means else share
        return means

    def clip(self, largest: float | None, values: dict[str, Tensor]) -> None:
        """Clip the gradients; their norm is added to the values that are reported and checked."""
        if self._scaler is None:
            # Even without clipping: a loss can be finite and its gradient not.
            values["grad_norm"] = clip_grad_norm_(self._trained, largest or math.inf)
        elif largest is not None:
            # With a scaler, a norm that is not finite skips the step; it is not a failure.
            self._scaler.unscale_(self._optimizer)
            clip_grad_norm_(self._trained, largest)

    def clear(self) -> None:
        """Forget the gradients; ``optimizer.zero_grad`` in a tenth of its time."""
        for parameter in self._trained:
            parameter.grad = None

    def _keeping_to_this_rank(self) -> AbstractContextManager[Any]:
        """Inside, ranks do not exchange gradients: they do so in the last pass of a step."""
        model = self._model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else _NOTHING


def _warn_if_done(state: TrainState, total: int) -> None:
    if state.step >= total:
        log.warning(
            "nothing to train: the checkpoint is at step %d, the run ends at %d; "
            "a larger --total-iter continues it",
            *(state.step, total),
        )


def update(state: TrainState) -> None:
    """Take one step of the optimizer and of its schedule."""
    if state.scaler is None:
        state.optimizer.step()
    else:
        state.scaler.step(state.optimizer)
        state.scaler.update()
    state.schedule.step()


def _dry_run(
    state: TrainState,
    batches: Batches,
    passes: Passes,
    grad_clip: float | None,
    progress: Progress,
    total: int,
) -> FitResult:
    """Do what a step does up to the optimizer, on all ranks, and leave everything as it was."""
    state.model.train()
    with stop_on_signal() as stop:
        sync = StepSync(passes.world, stop)
        values = passes.gradients(batches.stream(state.epoch, state.batch), progress)
        passes.clip(grad_clip, values)
        report = sync.send(state.step + 1, values) or sync.flush()
    passes.clear()
    figures = {} if report is None else dict(report.values)
    log.info("dry run: a step's passes work, nothing is saved · %s", format_figures(figures))
    return FitResult(
        step=state.step,
        total_steps=total,
        first_loss=figures.get("loss"),
        last_loss=figures.get("loss"),
        metrics={},
        history=(),
        seconds=0.0,
        stopped_by=None if report is None else report.stop,
    )


def _describe_end(state: TrainState, total: int, stopped_by: int | None, saved: Path) -> str:
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        return f"stopped at step {state.step} by {name}, checkpoint saved in {saved}"
    if state.step < total:
        best = state.best_step
        return f"stopped early at step {state.step}: no evaluation was better since step {best}"
    return f"done: {state.step} steps, checkpoint in {saved}"
