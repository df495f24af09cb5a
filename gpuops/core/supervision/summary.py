"""The closing summary of a run as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSummary:
    """The rank that failed first, how, and its last lines; ``None`` for torchrun itself."""

    rank: int | None
    how: str
    last_words: tuple[str, ...]
    log: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How the attempt ended, what it learned, where everything lies, what to type next."""

    run_id: str
    ending: str
    exit_code: int
    duration_s: float
    step: int | None
    total_steps: int | None
    first_loss: float | None
    last_loss: float | None
    validation: Mapping[str, float]
    places: Mapping[str, str]
    next_commands: tuple[tuple[str, str], ...]
    failure: FailureSummary | None


def next_commands(
    *, run: str, ending: str, trainer: bool, evaluates: bool, kept: bool, spoke: bool
) -> tuple[tuple[str, str], ...]:
    """What to type next, and why.

    ``run``: as it can be typed here; ``kept``: there is a checkpoint; ``spoke``: a rank has a log.
    """
    show = (f"gpuops runs show {run}", "its events and checkpoints")
    curves = (f"gpuops tensorboard {run}", "the curves in a browser")
    logs = (f"gpuops logs {run}", "the output of rank 0; --rank R for another")
    if not spoke:
        logs = (f"gpuops logs {run} --agent", "the output of torchrun")
    how = "continue from the last checkpoint" if kept else "start it again"
    again = (f"gpuops launch --resume {run}", how)
    if ending == "failed":
        return logs, show, again
    if ending == "stopped":
        return again, show, logs
    if not trainer:
        return show, logs, ("gpuops runs list", "all runs")
    if not evaluates:
        return show, curves, logs
    return (f"gpuops evaluate {run}", "measure what it has learned"), curves, show
