"""The drill: a real job, real faults, and what it says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gpuops.core.drill import (
    FAULTS,
    Observed,
    Step,
    assess,
    hang_timeout_s,
    place_fault,
    select_faults,
)
from gpuops.errors import UsageError


@pytest.mark.long
@pytest.mark.usefixtures("own_port")  # found as ./profiles/cpu.yaml
def test_a_host_recovers(gpuops, tmp_path):
    """A stopped rank is named and costs steps, and not a bit of the weights."""
    done = gpuops("drill", "--fault", "stop", "--json", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    value = json.loads(done.stdout)
    (stopped,) = value["faults"]
    assert stopped["fault"] == "stop"
    assert (stopped["kind"], stopped["culprit"], stopped["sure"]) == ("rank stopped", "right", True)
    assert stopped["detected_s"] > value["hang_timeout_s"] / 2
    assert all(row["same_weights"] and row["left"] == [] for row in value["faults"])
    assert list(tmp_path.glob("gpuops-drill-*")) == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("own_port")
def test_a_host_recovers_from_every_fault(gpuops, tmp_path):
    """The drill with nothing named."""
    done = gpuops("drill", "--json", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["fault"]: row for row in json.loads(done.stdout)["faults"]}
    assert list(FAULTS) == list(rows)
    assert 5 < rows["checkpoint"]["steps_lost"] <= 10


def test_a_fault_that_there_is_not_is_refused(gpuops):
    """Before anything is started, with those that there are."""
    refused = gpuops("drill", "--fault", "earthquake")

    assert refused.returncode == 2
    assert "there is no fault 'earthquake'" in refused.stderr
    with pytest.raises(UsageError, match="did you mean stop"):
        select_faults(["stopp"])
    assert "checkpoint" in refused.stderr


def test_faults_about_claims_need_no_gpu(tmp_path):
    """Two idle GPUs, whatever a scheduler says of those of the host."""
    done = subprocess.run(
        [sys.executable, "-m", "gpuops.drill.simulated_gpus", "gpus"],
        env={**os.environ, "GPUOPS_LEASE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.count(" free") == 2


# ------------------------------------------------------------------ assessments, on values alone

WEIGHTS = ("a", "a")


def seen(**changed):
    fine = {
        "exit_code": 0,
        "fault_s": 102.0,
        "steps": (
            Step(at_s=101.0, attempt="attempt-1", number=21),
            Step(at_s=101.5, attempt="attempt-1", number=22),
            Step(at_s=110.0, attempt="attempt-2", number=21),
        ),
        "events": ({"event": "diagnosis", "time": 104.5, "attempt": 1, "kind": "rank stopped",
                    "rank": place_fault(FAULTS["stop"], 0).rank, "sure": True},),
        "weights": WEIGHTS,
        "left": (),
        "begun_s": 95.0,
        "took_s": 20.0,
    }  # fmt: skip
    return Observed(**{**fine, **changed})


def judged(name="stop", **changed):
    return assess(place_fault(FAULTS[name], 0), seen(**changed), WEIGHTS)


def test_figures_are_counted_from_the_last_progress_and_from_the_fault():
    """Detection from the last step, recovery from the fault, steps from the checkpoint."""
    row = judged()

    assert row.passed
    assert (row.detected_s, row.recovered_s, row.steps_lost) == (3.0, 8.0, 2)
    assert row.culprit == "right"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": ("a", "b")}, "the final weights are not those of the undisturbed run"),
        ({"exit_code": 4}, "it ended with exit code 4, and 0 is right"),
        ({"left": ("process 7 (python)",)}, "left behind: process 7 (python)"),
        ({"events": ()}, "there is no diagnosis"),
        ({"fault_s": None}, "the fault did not happen"),
        (
            {"wrong": ("the launch that waited got GPUs of the run",)},
            "the launch that waited got GPUs of the run",
        ),
    ],
)
def test_what_is_not_right_is_said(changed, words):
    """Each in a sentence, and the fault does not pass."""
    row = judged(**changed)

    assert not row.passed
    assert words in row.wrong


def test_a_wrong_name_passes_only_as_a_guess():
    """Who is sure of the wrong rank has failed; who says that it is unsure has not."""
    other = 1 - place_fault(FAULTS["stop"], 0).rank
    event = {"event": "diagnosis", "time": 104.5, "attempt": 1, "kind": "rank stopped"}
    sure = judged(events=({**event, "rank": other, "sure": True},))
    unsure = judged(events=({**event, "rank": other, "sure": False},))

    assert (sure.culprit, sure.passed) == ("wrong", False)
    assert (unsure.culprit, unsure.passed) == ("unsure", True)


def test_what_is_rightly_given_up_has_to_be_there_to_go_on_with():
    """Exit code 4 is right where no restart helps, if a resumed launch then reaches the end."""
    disk = {"event": "diagnosis", "time": 104.5, "attempt": 1, "kind": "disk full", "rank": 0,
            "sure": True}  # fmt: skip

    assert judged("disk", exit_code=4, resumed=0, events=(disk,)).passed
    assert not judged("disk", exit_code=4, resumed=1, events=(disk,)).passed
    assert not judged("disk", exit_code=0, resumed=0, events=(disk,)).passed


def test_an_adopted_job_goes_on_until_it_is_struck_again():
    """It is not started again because its supervisor has gone; once a rank is killed, it is."""
    done = place_fault(FAULTS["supervisor"], 0)
    killed = {"event": "diagnosis", "time": 104.5, "attempt": 1, "kind": "signal",
              "rank": done.rank, "sure": False}  # fmt: skip

    def steps(last):
        return tuple(
            Step(at_s=100 + number / 10, attempt=f"attempt-{1 + (number > last)}", number=number)
            for number in range(1, 61)
        )

    assert judged("supervisor", steps=steps(done.kill_step - 1), events=(killed,)).passed
    early = judged("supervisor", steps=steps(20), events=(killed,))
    assert early.wrong[0] == "the job was started again before one of its ranks was killed"


def test_ranks_that_train_on_beside_the_next_attempt_are_found():
    """Reaper and torchrun were killed, and nothing else ended the ranks."""
    steps = [(101.0, "attempt-1", 21), (110.0, "attempt-2", 21), (110.2, "attempt-1", 38)]
    row = judged(steps=tuple(Step(at_s=at, attempt=name, number=n) for at, name, n in steps))

    assert "attempt-1 still trained beside attempt-2" in row.wrong


def test_a_busy_host_gets_more_time_before_a_job_hangs():
    """There, a rank that has failed takes seconds to end."""
    assert [hang_timeout_s(cold) for cold in (None, 4.0, 40.0)] == [4.0, 4.0, 16.0]


def test_the_same_seed_strikes_at_the_same_place():
    """And always where something is to be lost, and something left to train."""
    for fault in FAULTS.values():
        strikes = [place_fault(fault, seed) for seed in range(20)]

        assert strikes == [place_fault(fault, seed) for seed in range(20)]
        assert all(5 <= strike.step < 40 for strike in strikes)
        assert all((strike.step % 5 == 0) == fault.saving for strike in strikes)
