"""What `gpuops runs show` says of a run's checkpoints."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from gpuops.cli import main
from gpuops.cli.runs import _checkpoints
from gpuops.core.supervision.attempt import Action
from gpuops.ui import runs


def test_a_checkpoint_that_is_of_no_use_is_marked(tmp_path):
    """Damaged ones with the reason, those that were left aside; a whole one has its links alone."""
    for name, size in (("step-00000010", 4), ("step-00000020", 3), ("aside-step-00000030", 4)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"x" * size)
        (folder / "checkpoint.json").write_text(json.dumps({"files": {"model.bin": {"bytes": 4}}}))
    (tmp_path / "best").symlink_to("step-00000010")
    (tmp_path / "last").symlink_to("step-00000020")

    assert [
        ("aside-step-00000030", "left aside"),
        ("step-00000010", "best"),
        ("step-00000020", "last, damaged: model.bin has 3 of 4 bytes"),
    ] == _checkpoints(tmp_path)


def test_events_of_any_form_are_shown(tmp_path, capfd):
    """Times that make no sense, and text that no terminal can show: another program wrote it."""
    root = tmp_path / "20260101-000000-x"
    (root / "state" / "attempt-1").mkdir(parents=True)
    (root / "plan.json").write_text('{"run_id": "20260101-000000-x"}')
    times = ["1e999", "-1e300", "12345678901234567890", '"x"', "[]", "{}", "null"]
    lines = [f'{{"time": {time}, "event": "odd", "why": "\\ud800"}}\n' for time in times]
    (root / "events.jsonl").write_text("".join(lines))

    for flags in ([], ["--json"]):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sys.argv", ["gpuops", "runs", "show", str(root), *flags])
            with pytest.raises(SystemExit) as ended:
                main()
        assert 0 == ended.value.code
        assert len(times) == capfd.readouterr().out.count("\\ud800")


def test_an_action_is_shown_as_a_sentence():
    """What the supervisor does, and not the name that it has in the program."""
    event = {"time": 0, "event": "action", "attempt": 2, "action": "AskWorkers"}

    assert "attempt 2  ask the workers to save and end (SIGTERM)" == runs._details(event)
    assert {action.__name__ for action in get_args(Action)} == set(runs.ACTIONS)
