"""What is made of what an attempt left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.core.run import paths
from gpuops.diagnose import why_gone
from gpuops.system.runs import events, run_dir

RAISED = """Traceback (most recent call last):
  File "train.py", line 7, in <module>
    bytearray(1 << 42)
MemoryError
"""
HELD = Diagnosis(
    kind="peer died", rank=1, why="rank 1 has ended, while rank 0 waits", advice="", sure=True
)


@pytest.fixture(name="launch")
def _launch(tmp_path):
    """A run of two ranks that has begun."""
    request = LaunchRequest(
        target=Target(kind="script", name="train", entry="train.py"),
        run_id="train-1",
        run_dir=str(tmp_path / "train-1"),
        python=sys.executable,
    )
    launch = plan(Profile(name="two", device="cpu", workers=2), None, request)
    run_dir.create(launch)
    return launch


def says(launch, rank, words):
    log = Path(launch.run_dir) / paths.rank_log(1, rank, "stderr")
    log.parent.mkdir(exist_ok=True)
    log.write_text(words)


def diagnoses(launch):
    return [(e["what"], e["kind"]) for e in events.read(Path(launch.run_dir))]


def test_why_a_rank_has_gone_for_which_the_others_wait_is_told(launch):
    """torchrun could not end them, so it is a hang; but its own words tell what is to be done."""
    says(launch, 0, "")
    says(launch, 1, RAISED)
    found = why_gone(launch, -9, HELD)

    assert ("out of memory (host)", 1, True) == (found.kind, found.rank, found.sure)
    assert [("crashed", "out of memory (host)")] == diagnoses(launch)


@pytest.mark.parametrize("who", [None, 0])
def test_a_rank_that_went_without_a_word_is_all_that_is_told(launch, who):
    """What another one says is no reason why this one has gone."""
    if who is not None:
        says(launch, who, RAISED)

    assert HELD == why_gone(launch, -9, HELD)
    assert [] == diagnoses(launch)
