"""Run folders as launches leave them, for tests of what is read from them."""

from __future__ import annotations

import sys
from pathlib import Path

from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.system import files
from gpuops.system.runs import run_dir

CPU = Profile(name="cpu", device="cpu", workers=2)


def a_plan(runs, run_id="20260101-000000-toy", attempt=1):
    """The plan of a script on two workers."""
    request = LaunchRequest(
        target=Target(kind="script", name="toy", entry="toy.py"),
        run_id=run_id,
        run_dir=str(runs / run_id),
        python=sys.executable,
        attempt=attempt,
        working_dir=str(runs),
    )
    return plan(CPU, None, request)


def make(runs, run_id="20260101-000000-toy", **exit_record):
    """A run's folder, with how its attempt ended."""
    launch = a_plan(runs, run_id)
    run_dir.create(launch)
    if exit_record:
        files.write_json(Path(launch.state_dir, "exit.json"), exit_record)
    return Path(launch.run_dir)


def record_process(root, **identities):
    """A process record of this boot, as the reaper leaves it."""
    files.write_json(
        root / "state" / "attempt-1" / "process.json",
        {
            "agent": None,
            "reaper": None,
            "started_at": 5.0,
            **identities,
        },
    )
