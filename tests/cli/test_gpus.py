"""Launching on a host with GPUs: the real driver library's client on a mock of the driver."""

from __future__ import annotations

import json
import os

import pytest
from plan_json import gpus_of

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]


@pytest.fixture(name="driver")
def _driver(mock_driver):
    mock_driver.set(EIGHT)
    return mock_driver


@pytest.fixture(name="dry_run")
def _dry_run(driver, gpuops, workers):
    """A dry run on a host of the given state; this torch has no CUDA, and that is not the point."""

    def run(*words, inventory=EIGHT):
        driver.set(inventory)
        shows = ("--force", "torch", "--dry-run", "--json")
        return gpuops("launch", workers / "beats.py", *words, *shows, **driver.env)

    return run


def plan_of(answer):
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)


def finding(answer, check):
    return next(found for found in plan_of(answer)["findings"] if found["check"] == check)


def test_a_profile_takes_its_gpus_by_uuid(dry_run):
    """`7x4090` leaves GPU 0 alone and names seven UUIDs, in the order of the PCI bus."""
    value = plan_of(dry_run("--profile", "7x4090", "--exclude-gpu", "0"))
    uuids = value["environment"]["CUDA_VISIBLE_DEVICES"].split(",")

    assert gpus_of(value["plan"]) == [1, 2, 3, 4, 5, 6, 7]
    assert gpus_of(value["plan"], "uuid") == uuids
    assert len(set(uuids)) == 7
    assert all(uuid.startswith("GPU-") for uuid in uuids)
    assert value["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "--nproc-per-node=7" in value["command"]


def test_a_gpu_is_excluded_by_the_beginning_of_its_uuid(dry_run):
    """What `nvidia-smi -L` shows can be typed as far as it is unique."""
    uuids = gpus_of(plan_of(dry_run("--profile", "8x4090"))["plan"], "uuid")
    value = plan_of(dry_run("--profile", "4x4090", "--exclude-gpu", uuids[2]))

    assert gpus_of(value["plan"]) == [0, 1, 3, 4]


def test_a_lost_gpu_is_passed_over_and_the_others_keep_their_numbers(dry_run):
    """GPU 3 fell off the bus: four others are taken, under the numbers they had."""
    answer = dry_run("--profile", "4x4090", inventory=[*EIGHT, "lost 3"])

    assert gpus_of(plan_of(answer)["plan"]) == [0, 1, 2, 4]
    assert finding(answer, "gpus")["severity"] == "ok"


def test_too_few_gpus_are_told_before_anything_starts(dry_run):
    """Seven are wanted and six are left: why, and what can be done; no command, exit code 1."""
    answer = dry_run("--profile", "7x4090", inventory=[*EIGHT, "lost 3"])
    found = finding(answer, "gpus")

    assert (answer.returncode, plan_of(answer)["command"]) == (1, None)
    assert found["summary"].startswith("7 RTX 4090 wanted, 6 free (GPU 1, 2, 4, 5, 6, 7)")
    assert "GPU 0 is left alone by the profile; GPU 3 cannot be used" in found["summary"]
    assert "`--shrink` starts on 6" in found["hint"]
    assert "--wait" not in found["hint"], "a lost GPU does not come back by waiting"
    assert (found["measured"], found["wanted"]) == (6, 7)


def test_a_busy_gpu_is_left_to_its_holder_who_is_named(dry_run):
    """A free GPU is taken; who needs the busy one is told whose it is and what can be done."""
    holder = f"proc gpu=2 pid={os.getpid()} mem=18432 type=C"
    spared = dry_run("--profile", "4x4090", inventory=[*EIGHT, holder])
    short = dry_run("--profile", "8x4090", inventory=[*EIGHT, holder])
    shared = dry_run("--profile", "8x4090", "--force", "gpus", inventory=[*EIGHT, holder])

    assert gpus_of(plan_of(spared)["plan"]) == [0, 1, 3, 4]
    assert f"pid {os.getpid()}, 18.0 GiB" in finding(short, "gpus")["summary"]
    assert "`--wait` queues until they are free" in finding(short, "gpus")["hint"]
    assert len(gpus_of(plan_of(shared)["plan"])) == 8
    assert "shared: GPU 2 is used by" in finding(shared, "gpus")["summary"]


def test_gpus_are_asked_for_by_name(dry_run):
    """`--gpu` says which, and how many."""
    value = plan_of(dry_run("--profile", "8x4090", "--gpu", "6,1"))

    assert gpus_of(value["plan"]) == [1, 6]
    assert "--nproc-per-node=2" in value["command"]


def test_without_a_profile_what_is_free_is_taken(dry_run):
    """No profile: every free GPU of the host, and not one more."""
    busy = [*EIGHT, f"proc gpu=0 pid={os.getpid()} mem=18432 type=C"]

    assert gpus_of(plan_of(dry_run(inventory=busy))["plan"]) == [1, 2, 3, 4, 5, 6, 7]


def test_a_driver_that_does_not_load_is_told(dry_run):
    """A library of another version than the driver: what happened and what to do, exit code 3."""
    answer = dry_run("--profile", "4x4090", inventory=["init LIB_RM_VERSION_MISMATCH"])

    assert answer.returncode == 3
    assert "the driver was updated" in " ".join(answer.stderr.split())


@pytest.mark.parametrize("state", ["LIB_RM_VERSION_MISMATCH", "DRIVER_NOT_LOADED"])
def test_a_broken_driver_does_not_make_a_laptop(dry_run, state):
    """Without a profile a job on a host of GPUs never slips onto the CPU."""
    answer = dry_run(inventory=[f"init {state}"])

    assert answer.returncode == 3
    assert "the GPUs of this machine cannot be used" in " ".join(answer.stderr.split())
    assert not answer.stdout


def test_without_a_profile_a_job_is_of_one_model(dry_run):
    """The slowest GPU sets the pace, and the smallest the batch: the larger group is taken."""
    inventory = ["driver 580.95.05", "cuda 13.0", "gpu 0-2 model=rtx4090", "gpu 3-7 model=a100"]

    assert gpus_of(plan_of(dry_run(inventory=inventory))["plan"]) == [3, 4, 5, 6, 7]


def test_a_plan_that_waits_says_that_there_is_no_command_yet(dry_run):
    """Whoever reads its output must not take silence for a command."""
    holder = f"proc gpu=2 pid={os.getpid()} mem=18432 type=C"
    answer = dry_run("--profile", "8x4090", "--wait", "8h", inventory=[*EIGHT, holder])

    assert (answer.returncode, plan_of(answer)["command"]) == (1, None)
    assert "there is no command yet" in " ".join(answer.stderr.split())
