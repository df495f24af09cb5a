"""What `--resume` names: a run, or a checkpoint by a name that its trainer knows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from gpuops.errors import UsageError
from gpuops.launch import request


@pytest.fixture(name="run")
def _run(tmp_path):
    run = tmp_path / "runs" / "20260101-000000-made"
    (run / "checkpoints").mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps({"run_id": run.name}))
    return run


def resumed(run, wanted):
    return request._run_to_resume(SimpleNamespace(resume=str(wanted)), run.parent)


def test_a_run_is_named_by_its_folder_or_a_part_of_its_name(run):
    """It goes on, with its own plan."""
    assert resumed(run, run) == resumed(run, "made") == run


@pytest.mark.parametrize("name", ["last_model.pth", "epoch_5.pth"])
def test_a_checkpoint_may_have_a_name_that_only_the_trainer_knows(run, name):
    """A new run starts from it; the file itself need not be there."""
    assert resumed(run, run / "checkpoints" / name) is None


def test_what_lies_in_no_run_is_no_checkpoint(run):
    """It is a sentence."""
    with pytest.raises(UsageError, match="there is no run"):
        resumed(run, run.parent / "last_model.pth")
