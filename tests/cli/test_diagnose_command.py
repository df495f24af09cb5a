"""`gpuops diagnose` of a run that has ended."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from run_folders import make

from gpuops.cli import main
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.system import files
from gpuops.system.runs import events

CRASH = Diagnosis(kind="exception", rank=1, why="raised ValueError", advice="Fix it.", sure=True)


@pytest.fixture(name="diagnose")
def _diagnose(monkeypatch, capsys):
    def diagnose(root, *flags):
        monkeypatch.setattr("sys.argv", ["gpuops", "diagnose", str(root), *flags])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    return diagnose


def ended(folder, outcome, *, crashed=None, **fields):
    """A run that ended so; an attempt of it had crashed before."""
    root = make(folder, returncode=0 if outcome == "finished" else -15)
    if crashed is not None:
        name = f"diagnosis/attempt-{crashed}-crashed.json"
        (root / "diagnosis").mkdir(exist_ok=True)
        files.write_json(root / name, asdict(CRASH))
        events.record(root, "diagnosis", attempt=crashed, what="crashed")
    events.record(root, "attempt_started", attempt=1)
    events.record(root, "attempt_ended", attempt=1, outcome=outcome, **fields)
    return root


def test_a_run_that_finished_after_a_crash_ended_well(tmp_path, diagnose):
    """What was wrong before is only mentioned."""
    root = ended(tmp_path, "finished", crashed=0)
    code, text = diagnose(root)
    value = json.loads(diagnose(root, "--json")[1])

    assert (0, True) == (code, "it finished" in text.lower())
    assert "it had a problem: Exception: rank 1: Raised ValueError." in " ".join(text.split())
    assert (None, "it finished", "exception") == (
        value["kind"],
        value["why"],
        value["earlier"]["kind"],
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"stop_signal": 2}, "was stopped by a person (SIGINT)"), ({}, "was stopped by a person")],
)
def test_a_run_that_a_person_stopped_is_an_answer(tmp_path, diagnose, fields, why):
    """It is not an error to ask."""
    root = ended(tmp_path, "stopped", **fields)

    assert (0, True) == (diagnose(root)[0], why in diagnose(root)[1])


def test_what_was_wrong_with_the_attempt_that_was_stopped_is_the_answer(tmp_path, diagnose):
    """A person may stop a job because it hangs."""
    code, text = diagnose(ended(tmp_path, "stopped", crashed=1), "--json")

    assert (0, "exception") == (code, json.loads(text)["kind"])
