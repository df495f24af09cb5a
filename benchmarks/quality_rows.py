"""A row of a benchmark of quality: a training and its evaluation, stored as soon as it is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def row(trainer: str, name: str, data: Path | None, flags: str, work: Path) -> dict[str, Any]:
    """Train and evaluate, unless it was done before; a training that was stopped goes on.

    Returns what ``evaluate --json`` of the trainer prints, and the seconds of the training.
    """
    stored = work / f"{name.replace(' ', '-')}.json"
    if stored.exists():
        found: dict[str, Any] = json.loads(stored.read_text())
        return found
    run = work / name.replace(" ", "-")
    where = [] if data is None else ["--data", str(data)]
    python = [sys.executable, "-m"]
    train = [*python, f"trainers.{trainer}.train", *flags.split(), *where]
    evaluate = [*python, f"trainers.{trainer}.evaluate", "--checkpoint", str(run), "--json"]
    begun, before = time.perf_counter(), os.times()
    subprocess.run(
        [*train, "--out-dir", str(run), "--resume", "auto"], check=True, stdout=sys.stderr
    )
    took, after = time.perf_counter() - begun, os.times()
    answer = subprocess.run(evaluate, check=True, text=True, capture_output=True).stdout
    judged: dict[str, Any] = json.loads(answer.splitlines()[-1])
    cpu = sum(after[2:4]) - sum(before[2:4])
    judged |= {"train_wall_s": took, "train_cpu_s": cpu}
    stored.write_text(json.dumps(judged))
    return judged
