"""A run from attempt to attempt: how one ended, and what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.torchrun_failure import Failure
from gpuops.core.supervision.progress import Progress

Ending = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended. ``returncode`` is torchrun's; ``stop_signal`` what a person sent."""

    ending: Ending
    returncode: int
    stop_signal: int | None
    failure: Failure | None
    diagnosis: Diagnosis | None
    progress: Progress
    first_step: int | None
    duration_s: float
