"""The progress of training: a heartbeat every step, a line of figures every ``print_iter`` steps.

Time is that of steps alone: steps per second leave out evaluation and saving.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from gpuops import heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.config.sections import LoopConfig
    from trainers.engine.outputs import Outputs
    from trainers.engine.step_sync import Report

log = logging.getLogger("trainers")


class Progress:
    """Collects what the steps report and logs it every ``print_iter`` steps."""

    def __init__(
        self, state: TrainState, outputs: Outputs, config: LoopConfig, total_steps: int
    ) -> None:
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.train_s = 0.0
        self._state = state
        self._outputs = outputs
        self._epochs = config.epochs
        self._every = config.print_iter
        self._total = total_steps
        self._sums: dict[str, float] = {}
        self._reports = 0
        self._steps = 0
        self._wait_s = 0.0
        self._window_wait_s = 0.0
        self._step_began = self._window_began = perf_counter()

    def waited(self, seconds: float) -> None:
        """Count the seconds that this step waited for its data."""
        self._wait_s += seconds

    def step_done(self, step: int, report: Report | None, lr: float) -> None:
        """Count a step; ``report`` is the newest one, of this step or of the one before."""
        if report is not None:
            self.note(report)
        now = perf_counter()
        share = self._wait_s / max(now - self._step_began, 1e-9)
        heartbeat.beat(step, total_steps=self._total, loss=self.last_loss, data_wait=share)
        self._window_wait_s += self._wait_s
        self._wait_s = 0.0
        self._steps += 1
        self.train_s += now - self._step_began
        self._step_began = now
        if step % self._every == 0 or step == self._total:
            self._log(step, lr, now)

    def note(self, report: Report) -> None:
        """Add a report to the figures of the next line."""
        sums = self._sums
        for name, value in report.values.items():
            sums[name] = sums.get(name, 0.0) + value
        self._reports += 1
        self.last_loss = report.values["loss"]
        if self.first_loss is None:
            self.first_loss = self.last_loss

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, time does not count as training."""
        began = perf_counter()
        yield
        gone = perf_counter() - began
        self._step_began += gone
        self._window_began += gone

    def _log(self, step: int, lr: float, now: float) -> None:
        seconds = max(now - self._window_began, 1e-9)
        means = {name: total / self._reports for name, total in self._sums.items()}
        rate = self._steps / seconds
        wait = self._window_wait_s / seconds
        figures = {**means, "lr": lr, "steps_per_s": rate, "data_wait": wait}
        epoch = self._state.current_epoch
        self._outputs.figures(step, "train", figures, epoch=epoch, total_steps=self._total)
        log.info(
            "%sstep %d/%d · %s · lr %.3g · %.3g steps/s · data %.0f %% · %s left",
            "" if self._epochs is None else f"epoch {epoch}/{self._epochs} · ",
            step,
            self._total,
            format_figures(means),
            lr,
            rate,
            100 * wait,
            _clock((self._total - step) / rate),
        )
        self._sums, self._reports, self._steps, self._window_wait_s = {}, 0, 0, 0.0
        self._window_began = now


def format_figures(values: dict[str, float]) -> str:
    """Format figures for a line of the log."""
    return " · ".join(f"{name} {value:.4g}" for name, value in values.items()) or "no figures"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
