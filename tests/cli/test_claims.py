"""Launches that want the same GPUs: none ever shares one unasked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from plan_json import gpus_of, world_size

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]


@pytest.fixture(name="driver")
def _driver(mock_driver):
    mock_driver.set(EIGHT)
    return mock_driver


class Host:
    """A machine of eight GPUs, and launches on it."""

    def __init__(self, folder, driver, python, workers, gpuops):
        self.folder, self.driver, self.python, self.workers = folder, driver, python, workers
        self.gpuops = gpuops
        gpuops.environment |= {**driver.env, "MARKS": str(folder / "marks")}
        self.marks, self.hold = folder / "marks", folder / "go"
        self.started = []
        self.marks.mkdir()
        for count in range(1, 9):
            (folder / "profiles" / f"{count}.yaml").write_text(
                f"name: '{count}'\ngpus: {{count: {count}, model: RTX 4090}}\n"
            )

    def start(self, *words, script="holds.py", **environment):
        torch = ("--python", self.python, "--force", "torch")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        job = self.gpuops.start(
            "launch", self.workers / script, *torch, *words, environment=environment, **pipes
        )
        self.started.append(job)
        return job

    def holding(self, *words):
        """A launch that has its GPUs and keeps them until ``go`` is there."""
        job = self.start(*words, HOLD=str(self.hold))
        while not list(self.marks.glob("order-*")):
            assert job.poll() is None, job.stdout.read()
            time.sleep(0.01)
        return job

    def waiting(self, count):
        """A launch of so many GPUs, which has its place in the line."""
        job = self.start("--profile", count, "--wait")
        self.until_it_waits(job)
        assert self.gpus()[1] == [count]
        return job

    def until_it_waits(self, job):
        while not list((self.folder / "claims").glob("wait-*")):
            assert job.poll() is None, job.stdout.read()
            time.sleep(0.01)

    def let_go(self):
        self.hold.touch()

    def gpus(self):
        """Who holds what, by `gpuops gpus --json`."""
        inventory = json.loads(self.gpuops("gpus", "--json").stdout)
        held = {
            d["index"]: d["claim"]["run_id"]
            for d in inventory["inventory"]["devices"]
            if d["claim"]
        }
        return held, [ticket["count"] for ticket in inventory["waiting"]]


@pytest.fixture(name="inventory")
def _inventory(tmp_path, driver, quick_python, workers, gpuops, own_port):  # noqa: ARG001 - makes profiles/
    driver.set(EIGHT)
    inventory = Host(tmp_path, driver, quick_python, workers, gpuops)
    yield inventory
    inventory.let_go()  # also where a test failed half-way: nothing is left behind
    for job in inventory.started:
        if job.poll() is None:
            job.terminate()
            job.communicate(timeout=30)


def ended(job):
    """What a launch said, and its exit code; its pipe is closed."""
    said, _ = job.communicate(timeout=60)
    return job.returncode, said


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("each", [4, 5])
def test_two_launches_at_the_same_instant_never_share_a_gpu(inventory, each, rounds):
    """Round after round they split the host; if it is too small for both, one waits."""
    for _ in range(rounds):
        jobs = [inventory.start("--profile", each, "--wait") for _ in range(2)]
        for code, said in map(ended, jobs):
            assert code == 0, said

    assert not list(inventory.marks.glob("GPU-*"))
    assert len(list(inventory.marks.glob("order-*"))) == 2 * rounds


def test_a_job_holds_its_gpus_and_its_port_until_it_ends(inventory):
    """`gpuops gpus` names the run; the next launch takes other GPUs and another port."""
    job = inventory.holding("--profile", 3)
    held, _ = inventory.gpus()
    other = ended(inventory.start("--profile", 3))

    assert sorted(held) == [0, 1, 2]
    assert len(set(held.values())) == 1
    assert other[0] == 0, other[1]
    assert "3 workers on GPU 3, 4, 5" in other[1]
    inventory.let_go()
    assert ended(job)[0] == 0
    assert inventory.gpus()[0] == {}


def test_a_job_whose_supervisor_was_killed_still_holds_its_gpus(inventory):
    """They are free when the job ends, not when somebody's terminal does."""
    job = inventory.holding("--profile", 2)
    job.kill()
    ended(job)

    assert sorted(inventory.gpus()[0]) == [0, 1]
    inventory.let_go()
    (run,) = (inventory.folder / "runs").glob("*-holds")
    exit_record = run / "state" / "attempt-1" / "exit.json"
    while not exit_record.exists():
        time.sleep(0.01)
    while inventory.gpus()[0]:
        time.sleep(0.05)
    assert json.loads(exit_record.read_text())["returncode"] == 0


def test_too_few_gpus_are_explained_with_ways_out(inventory):
    """Who holds the missing one, and what can be done; nothing is started."""
    job = inventory.holding("--profile", 2)
    refused = inventory.gpuops(
        "launch", inventory.workers / "holds.py", "--profile", 7, "--force", "torch"
    )
    said = " ".join(refused.stderr.split())

    assert refused.returncode == 1
    assert "7 RTX 4090 wanted, 6 free" in said
    assert "GPU 0, 1 are held by run 2" in said
    assert "`--wait` queues until they are free" in said
    assert "`--shrink` starts on 6" in said
    inventory.let_go()
    assert ended(job)[0] == 0


def test_first_come_first_served(inventory):
    """A launch that waits gets its GPUs before one that came later and wants fewer."""
    job = inventory.holding("--profile", 6)
    waits = inventory.waiting(8)
    late = inventory.gpuops(
        "launch", inventory.workers / "holds.py", "--profile", 1, "--force", "torch"
    )

    assert late.returncode == 1
    assert "to a launch that waits for" in " ".join(late.stderr.split())
    inventory.let_go()
    assert (ended(job)[0], ended(waits)[0]) == (0, 0)


def test_ctrl_c_leaves_the_line(inventory):
    """Nothing is started, and nobody waits behind a ghost."""
    job = inventory.holding("--profile", 8)
    waits = inventory.waiting(8)
    waits.send_signal(signal.SIGINT)
    code, said = ended(waits)

    assert code == 130
    sentence = "Ctrl-C ended the wait for GPUs: the place in the queue is given up, nothing was"
    assert sentence in " ".join(said.split())
    assert inventory.gpus()[1] == []
    inventory.let_go()
    assert ended(job)[0] == 0


def test_ctrl_c_does_not_reach_a_detached_launch(inventory):
    """It says so, and which command shows the process that waits."""
    job = inventory.holding("--profile", 8)
    detached = inventory.start("--profile", 8, "--wait", "--detach")
    inventory.until_it_waits(detached)
    detached.send_signal(signal.SIGINT)
    code, said = ended(detached)

    assert code == 130
    assert "the launch is detached, and goes on" in " ".join(said.split())
    (waiting,) = json.loads(inventory.gpuops("gpus", "--json").stdout)["waiting"]
    os.kill(waiting["claim"]["pid"], signal.SIGTERM)
    while inventory.gpus()[1]:
        time.sleep(0.01)
    inventory.let_go()
    assert ended(job)[0] == 0


def test_waiting_ends_with_its_time(inventory):
    """With what is still missing, exit code 1."""
    job = inventory.holding("--profile", 8)
    code, said = ended(inventory.start("--profile", 2, "--wait", "0.1s"))

    assert code == 1
    assert "2 of 2 GPUs are still missing" in " ".join(said.split())
    inventory.let_go()
    assert ended(job)[0] == 0


def test_gpus_in_use_are_shared_by_force(inventory):
    """Whoever insists may: the claim stays with who has it."""
    job = inventory.holding("--profile", 8)
    inventory.marks.joinpath("again").mkdir()
    shared = inventory.start(
        "--profile", 1, "--force", "gpus", MARKS=str(inventory.marks / "again")
    )

    code, said = ended(shared)
    assert code == 0, said
    assert "shared: GPU 0 is held by run" in " ".join(said.split())
    inventory.let_go()
    assert ended(job)[0] == 0


def test_shrinking_takes_what_is_there(inventory):
    """GPU 3 is lost: seven go on."""
    inventory.driver.set([*EIGHT, "lost 3"])
    code, said = ended(inventory.start("--profile", 8, "--shrink"))

    assert code == 0, said
    assert "7 workers of 8 on GPU 0, 1, 2, 4, 5, 6, 7" in said


def test_a_trainer_that_is_shrunk_keeps_its_global_batch(inventory):
    """Seven of 80 are 560 a step, also on six GPUs."""
    inventory.driver.set([*EIGHT, "lost 3"])
    plan = inventory.gpuops(
        "plan", "rvq", "--profile", "7x4090", "--shrink", "--force", "torch", "--json"
    )
    value = json.loads(plan.stdout)["plan"]

    assert gpus_of(value) == [1, 2, 4, 5, 6, 7]
    assert value["fit_arguments"] == ["--accumulate", "1", "--global-batch", "560"]
    assert (world_size(value), value["ranks_wanted"]) == (6, 7)


def test_waiting_for_a_gpu_that_is_lost_is_refused(inventory):
    """It will not come back by itself."""
    inventory.driver.set([*EIGHT, "lost 3"])
    refused = inventory.gpuops(
        "launch", inventory.workers / "holds.py", "--profile", 8, "--wait", "--force", "torch"
    )

    assert refused.returncode == 1
    assert "GPU 3 cannot be used" in " ".join(refused.stderr.split())
    assert inventory.gpus()[1] == []


def test_a_wait_survives_a_reading_that_fails_for_a_moment(inventory):
    """The place in the line is kept while a GPU does not answer."""
    job = inventory.holding("--profile", 2)
    waits = inventory.waiting(8)
    inventory.driver.set([*EIGHT, "fault 5 nvmlDeviceGet* UNKNOWN"])
    for line in waits.stdout:
        if "GPU 5 cannot be used" in line:
            break
    inventory.driver.set(EIGHT)
    inventory.let_go()

    assert (ended(job)[0], ended(waits)[0]) == (0, 0)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
def test_who_is_ended_while_it_waits_leaves_the_line(inventory, number):
    """Nothing of it stays, also not the file of its place."""
    job = inventory.holding("--profile", 8)
    waits = inventory.waiting(8)
    waits.send_signal(number)

    assert ended(waits)[0] == 128 + number
    assert not list((inventory.folder / "claims").glob("wait-*"))
    inventory.let_go()
    assert ended(job)[0] == 0


def test_waiting_and_shrinking_starts_with_the_first_free_gpu(inventory):
    """Fewer will do: it does not wait for all of them."""
    job = inventory.holding("--profile", 8)
    waits = inventory.start("--profile", 4, "--wait", "--shrink")
    inventory.until_it_waits(waits)
    inventory.let_go()
    code, said = ended(waits)

    assert (ended(job)[0], code) == (0, 0)
    assert "worker" in said


def test_a_port_that_another_launch_claimed_can_be_forced(inventory):
    """It is the user's word; it neither waits nor spins."""
    job = inventory.holding("--profile", 2, "--master-port", 29777)
    refused = ended(inventory.start("--profile", 2, "--master-port", 29777))
    forced = ended(inventory.start("--profile", 2, "--master-port", 29777, "--force", "port"))

    assert refused[0] == 1
    assert "port 29777 is held by run 2" in " ".join(refused[1].split())
    assert forced[0] == 0, forced[1]
    inventory.let_go()
    assert ended(job)[0] == 0


def test_a_run_goes_on_with_other_gpus_than_it_began_with(inventory):
    """What is typed now about GPUs replaces what was typed then."""
    assert ended(inventory.start("--profile", 8, "--gpu", "0,1,2"))[0] == 0
    named = inventory.gpuops(
        "plan", "--resume", "last", "--gpu", "5,6", "--force", "torch", "--json"
    )
    spared = inventory.gpuops(
        "plan", "--resume", "last", "--exclude-gpu", "1", "--force", "torch", "--json"
    )

    assert gpus_of(json.loads(named.stdout)["plan"]) == [5, 6]
    assert gpus_of(json.loads(spared.stdout)["plan"]) == [0, 2, 3]


def test_shrinking_says_so_where_the_batch_cannot_be_kept(inventory):
    """Batches of so many frames hold nobody knows how many samples."""
    inventory.driver.set([*EIGHT, "lost 3"])
    words = ("plan", "rvq", "--profile", "8x4090", "--frames-per-batch", "4000", "--force", "torch")
    plan = json.loads(inventory.gpuops(*words, "--shrink", "--json").stdout)
    (found,) = [one for one in plan["findings"] if one["check"] == "gpus"]

    assert plan["plan"]["fit_arguments"] == []
    assert "its global batch shrinks with it" in found["hint"]


@pytest.mark.parametrize(
    ("words", "lost", "gpus", "wanted"),
    [
        (("--exclude-gpu", "0"), (), [1, 2], 2),
        (("--exclude-gpu", "0"), (1,), [2, 3], 2),
        (("--gpu", "4,5"), (5,), [4], 2),
    ],
)
def test_a_restart_holds_what_a_person_said_of_gpus(inventory, words, lost, gpus, wanted):
    """Its own GPUs again, else a spare, else fewer: never one that was not meant."""
    job = inventory.start(
        "--profile", 2, *words, script="faults.py", FAULTS="1:15:pause-kill", STEPS="20"
    )
    while not (inventory.marks / "1-15-pause-kill").exists():
        assert job.poll() is None, job.stdout.read()
        time.sleep(0.01)
    inventory.driver.set([*EIGHT, *(f"lost {index}" for index in lost)])
    inventory.let_go()
    (inventory.marks / "go").touch()
    code, said = ended(job)
    (run,) = (inventory.folder / "runs").glob("*-faults")
    plan = json.loads((run / "plan.json").read_text())
    options = plan["options"]

    assert code == 0, said
    assert (plan["attempt"], gpus_of(plan), plan["ranks_wanted"]) == (2, gpus, wanted)
    assert {"--exclude-gpu": options["exclude_gpus"], "--gpu": options["gpus"]}[words[0]] == [
        words[1]
    ]
    assert options["master_port"] is None
