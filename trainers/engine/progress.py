"""The progress of training: a heartbeat every step, a line of figures every ``print_iter`` steps.

Time is that of steps alone: steps per second leave out evaluation and saving.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Progress:
    """Collects what the steps report and logs it every ``print_iter`` steps."""

    state: TrainState
    outputs: Outputs
    config: LoopConfig
    total_steps: int
    first_loss: float | None = None
    last_loss: float | None = None
    train_s: float = 0.0
    _sums: dict[str, float] = field(default_factory=dict)
    _reports: int = 0
    _steps: int = 0
    _wait_s: float = 0.0
    _window_wait_s: float = 0.0
    _step_began: float = field(default_factory=perf_counter)
    _window_began: float = field(default_factory=perf_counter)

    def waited(self, seconds: float) -> None:
        """Count the seconds that this step waited for its data."""
        self._wait_s += seconds

    def step_done(self, step: int, report: Report | None, lr: float) -> None:
        """Count a step; ``report`` is the newest one, of this step or of the one before."""
        if report is not None:
            self.note(report)
        now = perf_counter()
        share = self._wait_s / max(now - self._step_began, 1e-9)
        heartbeat.beat(step, total_steps=self.total_steps, loss=self.last_loss, data_wait=share)
        self._window_wait_s += self._wait_s
        self._wait_s = 0.0
        self._steps += 1
        self.train_s += now - self._step_began
        self._step_began = now
        if step % self.config.print_iter == 0 or step == self.total_steps:
            self._log(step, lr, now)

    def note(self, report: Report) -> None:
        """Add a report to the figures of the next line."""
        for name, value in report.values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
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
        epoch = self.state.current_epoch
        self.outputs.figures(step, "train", figures, epoch=epoch, total_steps=self.total_steps)
        log.info(
            "%sstep %d/%d · %s · lr %.3g · %.3g steps/s · data %.0f %% · %s left",
            "" if self.config.epochs is None else f"epoch {epoch}/{self.config.epochs} · ",
            step,
            self.total_steps,
            format_figures(means),
            lr,
            rate,
            100 * wait,
            _clock((self.total_steps - step) / rate),
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
