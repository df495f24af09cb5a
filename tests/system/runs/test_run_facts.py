"""What the monitor reads of a run's plan."""

import json

import pytest

from gpuops.core.machine.targets import Targets
from gpuops.core.run import paths
from gpuops.system.runs import run_facts


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"utilization_pct": 90, "memory_most": 0.8}, Targets(utilization_pct=90, memory_most=0.8)),
        ({"utilization_pct": "90", "memory_most": True, "other": 1}, Targets()),
        (None, Targets()),
        ([1], Targets()),
    ],
)
def test_targets_are_those_of_the_plan(tmp_path, written, read):
    """What is missing or of another type is as usual."""
    (tmp_path / paths.PLAN).write_text(json.dumps({"targets": written}))

    assert run_facts.read(tmp_path).targets == read
