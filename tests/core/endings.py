"""Attempts that ended, as the tests of restarting tell of them."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.supervision.restart import FailedAttempt, RestartPolicy

POLICY = RestartPolicy(max_restarts=3, window_s=3600, backoff_s=(1, 2, 5), max_fruitless=8)
NOW_S = 10_000.0
KEY = "ValueError /job/train.py:10:<module> /job/data.py:33:load"
CHANCE = ["rank stopped", "stuck in I/O", "data loader starved", "peer died", "signal"]
KINDS = [*CHANCE, "python spin", "collective mismatch", "gpu lost", "out of memory (gpu)"]
LASTING = ["out of memory (host)", "shared memory full", "disk full", "file limit"]
LASTING += ["process limit", "gpu missing"]
KINDS += [*LASTING, "nan", "exception", "port taken", "unknown"]


def ended(kind="signal", *, at_s=0.0, gpu=1, **changes):
    """An attempt that trained and left no new checkpoint."""
    cause = Diagnosis(
        kind=kind, rank=1, gpu=gpu, why="rank 1 was killed", advice="Look at it.", sure=True
    )
    begun = FailedAttempt(
        number=1,
        ended_s=NOW_S + at_s,
        duration_s=60.0,
        first_step=1,
        last_step=50,
        diagnosis=cause,
        traceback_key=None,
    )
    return replace(begun, **changes)


def numbered(*attempts):
    return [replace(attempt, number=n) for n, attempt in enumerate(attempts, start=1)]
