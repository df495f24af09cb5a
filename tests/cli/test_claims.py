"""Launches that want the same cards: none ever shares one unasked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]
ROUNDS = 20


@pytest.fixture(name="driver")
def _driver(mock_driver):
    mock_driver.set(EIGHT)
    return mock_driver


class Box:
    """A machine of eight cards, and launches on it."""

    def __init__(self, folder, driver, python, workers):
        self.folder, self.driver, self.python, self.workers = folder, driver, python, workers
        self.marks, self.hold = folder / "marks", folder / "go"
        self.started = []
        self.marks.mkdir()
        for count in range(1, 9):
            (folder / "profiles" / f"{count}.yaml").write_text(
                f"name: '{count}'\ngpus: {{count: {count}, model: RTX 4090}}\n"
            )

    def environment(self, **more):
        return {
            **os.environ,
            **self.driver.env,
            "MARKS": str(self.marks),
            "GPUOPS_LEASE_DIR": str(self.folder / "claims"),
            **more,
        }

    def command(self, *words, script="holds.py"):
        torch = ["--python", self.python, "--force", "torch"]
        whole = [sys.executable, "-m", "gpuops", "launch", str(self.workers / script), *torch]
        return [*whole, *map(str, words)]

    def start(self, *words, script="holds.py", **environment):
        job = subprocess.Popen(
            self.command(*words, script=script),
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(job)
        return job

    def gpuops(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "gpuops", *map(str, words)],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def holding(self, *words):
        """A launch that has its cards and keeps them until ``go`` is there."""
        job = self.start(*words, HOLD=str(self.hold))
        while not list(self.marks.glob("order-*")):
            assert job.poll() is None, job.stdout.read()
            time.sleep(0.01)
        return job

    def let_go(self):
        self.hold.touch()

    def cards(self):
        """Who holds what, by `gpuops gpus --json`."""
        box = json.loads(self.gpuops("gpus", "--json").stdout)
        held = {d["index"]: d["claim"]["run_id"] for d in box["box"]["devices"] if d["claim"]}
        return held, [ticket["count"] for ticket in box["waiting"]]


@pytest.fixture(name="box")
def _box(tmp_path, driver, quick_python, workers, own_port):  # noqa: ARG001 - makes profiles/
    driver.set(EIGHT)
    box = Box(tmp_path, driver, quick_python, workers)
    yield box
    box.let_go()  # also where a test failed half-way: nothing is left behind
    for job in box.started:
        if job.poll() is None:
            job.terminate()
            job.communicate(timeout=30)


def ended(job):
    """What a launch said, and its exit code; its pipe is closed."""
    said, _ = job.communicate(timeout=60)
    return job.returncode, said


@pytest.mark.parametrize("each", [4, 5])
def test_two_launches_at_the_same_instant_never_share_a_card(box, each):
    """Round after round they split the box; where it is too small, one waits."""
    for _ in range(ROUNDS // 2):
        jobs = [box.start("--profile", each, "--wait") for _ in range(2)]
        for code, said in map(ended, jobs):
            assert code == 0, said

    assert not list(box.marks.glob("GPU-*"))
    assert len(list(box.marks.glob("order-*"))) == ROUNDS


def test_a_job_holds_its_cards_and_its_port_until_it_ends(box):
    """`gpuops gpus` names the run; the next launch takes other cards and another port."""
    job = box.holding("--profile", 3)
    held, _ = box.cards()
    other = ended(box.start("--profile", 3))

    assert sorted(held) == [0, 1, 2]
    assert len(set(held.values())) == 1
    assert other[0] == 0, other[1]
    assert "3 workers on GPU 3, 4, 5" in other[1]
    box.let_go()
    assert ended(job)[0] == 0
    assert box.cards()[0] == {}


def test_a_job_whose_supervisor_was_killed_still_holds_its_cards(box):
    """They are free when the job ends, not when somebody's terminal does."""
    job = box.holding("--profile", 2)
    job.kill()
    ended(job)

    assert sorted(box.cards()[0]) == [0, 1]
    box.let_go()
    (run,) = (box.folder / "runs").glob("*-holds")
    exit_record = run / "state" / "attempt-1" / "exit.json"
    while box.cards()[0]:
        pass  # each look is a process of its own
    assert json.loads(exit_record.read_text())["returncode"] == 0


def test_too_few_cards_are_explained_with_ways_out(box):
    """Who holds the missing one, and what can be done; nothing is started."""
    job = box.holding("--profile", 2)
    refused = box.gpuops("launch", box.workers / "holds.py", "--profile", 7, "--force", "torch")
    said = " ".join(refused.stderr.split())

    assert refused.returncode == 1
    assert "7 RTX 4090 wanted, 6 free" in said
    assert "GPU 0, 1 are held by run 2" in said
    assert "`--wait` queues until they are free" in said
    assert "`--shrink` starts on 6" in said
    box.let_go()
    assert ended(job)[0] == 0


def test_first_come_first_served(box):
    """A launch that waits gets its cards before one that came later and wants fewer."""
    job = box.holding("--profile", 6)
    waits = box.start("--profile", 8, "--wait")
    while box.cards()[1] != [8]:
        assert waits.poll() is None, waits.stdout.read()
    late = box.gpuops("launch", box.workers / "holds.py", "--profile", 1, "--force", "torch")

    assert late.returncode == 1
    assert "to a launch that waits for" in " ".join(late.stderr.split())
    box.let_go()
    assert (ended(job)[0], ended(waits)[0]) == (0, 0)


def test_ctrl_c_leaves_the_line(box):
    """Nothing is started, and nobody waits behind a ghost."""
    job = box.holding("--profile", 8)
    waits = box.start("--profile", 8, "--wait")
    while box.cards()[1] != [8]:
        assert waits.poll() is None, waits.stdout.read()
    waits.send_signal(signal.SIGINT)
    code, said = ended(waits)

    assert code == 130
    assert "Traceback" not in said
    assert box.cards()[1] == []
    box.let_go()
    assert ended(job)[0] == 0


def test_waiting_ends_with_its_time(box):
    """With what is still missing, exit code 1."""
    job = box.holding("--profile", 8)
    code, said = ended(box.start("--profile", 2, "--wait", "0.1s"))

    assert code == 1
    assert "2 of 2 cards are still missing" in " ".join(said.split())
    box.let_go()
    assert ended(job)[0] == 0


def test_cards_in_use_are_shared_by_force(box):
    """Whoever insists may: the claim stays with who has it."""
    job = box.holding("--profile", 8)
    box.marks.joinpath("again").mkdir()
    shared = box.start("--profile", 1, "--force", "gpus", MARKS=str(box.marks / "again"))

    code, said = ended(shared)
    assert code == 0, said
    assert "shared: GPU 0 is held by run" in " ".join(said.split())
    box.let_go()
    assert ended(job)[0] == 0


def test_shrinking_takes_what_is_there(box):
    """GPU 3 is lost: seven go on."""
    box.driver.set([*EIGHT, "lost 3"])
    code, said = ended(box.start("--profile", 8, "--shrink"))

    assert code == 0, said
    assert "7 workers of 8 on GPU 0, 1, 2, 4, 5, 6, 7" in said


def test_a_trainer_that_is_shrunk_keeps_its_global_batch(box):
    """Seven of 80 are 560 a step, also on six cards."""
    box.driver.set([*EIGHT, "lost 3"])
    plan = box.gpuops(
        "plan", "rvq", "--profile", "7x4090", "--shrink", "--force", "torch", "--json"
    )
    value = json.loads(plan.stdout)["plan"]

    assert value["gpu_indices"] == [1, 2, 4, 5, 6, 7]
    assert value["fit_arguments"] == ["--accumulate", "1", "--global-batch", "560"]
    assert (value["nproc_per_node"], value["ranks_wanted"]) == (6, 7)


def test_waiting_for_a_card_that_is_lost_is_refused(box):
    """It will not come back by itself."""
    box.driver.set([*EIGHT, "lost 3"])
    refused = box.gpuops(
        "launch", box.workers / "holds.py", "--profile", 8, "--wait", "--force", "torch"
    )

    assert refused.returncode == 1
    assert "GPU 3 cannot be used" in " ".join(refused.stderr.split())
    assert box.cards()[1] == []


def test_a_wait_survives_a_reading_that_fails_for_a_moment(box):
    """The place in the line is kept while a card does not answer."""
    job = box.holding("--profile", 2)
    waits = box.start("--profile", 8, "--wait")
    while box.cards()[1] != [8]:
        assert waits.poll() is None, waits.stdout.read()
    box.driver.set([*EIGHT, "fault 5 nvmlDeviceGet* UNKNOWN"])
    for line in waits.stdout:
        if "GPU 5 cannot be used" in line:
            break
    box.driver.set(EIGHT)
    box.let_go()

    assert (ended(job)[0], ended(waits)[0]) == (0, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_ended_while_it_waits_leaves_the_line(box, number):
    """Nothing of it stays, also not the file of its place."""
    job = box.holding("--profile", 8)
    waits = box.start("--profile", 8, "--wait")
    while box.cards()[1] != [8]:
        assert waits.poll() is None, waits.stdout.read()
    waits.send_signal(number)

    assert ended(waits)[0] == 128 + number
    assert not list((box.folder / "claims").glob("wait-*"))
    box.let_go()
    assert ended(job)[0] == 0


def test_waiting_and_shrinking_starts_with_the_first_free_card(box):
    """Fewer will do: it does not wait for all of them."""
    job = box.holding("--profile", 8)
    waits = box.start("--profile", 4, "--wait", "--shrink")
    while box.cards()[1] != [4]:
        assert waits.poll() is None, waits.stdout.read()
    box.let_go()
    code, said = ended(waits)

    assert (ended(job)[0], code) == (0, 0)
    assert "worker" in said


def test_a_port_that_another_launch_claimed_can_be_forced(box):
    """It is the user's word; it neither waits nor spins."""
    job = box.holding("--profile", 2, "--master-port", 29777)
    refused = ended(box.start("--profile", 2, "--master-port", 29777))
    forced = ended(box.start("--profile", 2, "--master-port", 29777, "--force", "port"))

    assert refused[0] == 1
    assert "port 29777 is claimed by another launch" in " ".join(refused[1].split())
    assert forced[0] == 0, forced[1]
    box.let_go()
    assert ended(job)[0] == 0


def test_a_run_goes_on_with_other_cards_than_it_began_with(box):
    """What is typed now about cards replaces what was typed then."""
    assert ended(box.start("--profile", 8, "--gpu", "0,1,2"))[0] == 0
    named = box.gpuops("plan", "--resume", "last", "--gpu", "5,6", "--force", "torch", "--json")
    spared = box.gpuops(
        "plan", "--resume", "last", "--exclude-gpu", "1", "--force", "torch", "--json"
    )

    assert json.loads(named.stdout)["plan"]["gpu_indices"] == [5, 6]
    assert json.loads(spared.stdout)["plan"]["gpu_indices"] == [0, 2, 3]


def test_shrinking_says_so_where_the_batch_cannot_be_kept(box):
    """Batches of so many frames hold nobody knows how many samples."""
    box.driver.set([*EIGHT, "lost 3"])
    words = ("plan", "rvq", "--profile", "8x4090", "--frames-per-batch", "4000", "--force", "torch")
    plan = json.loads(box.gpuops(*words, "--shrink", "--json").stdout)
    (found,) = [one for one in plan["findings"] if one["check"] == "gpus"]

    assert plan["plan"]["fit_arguments"] == []
    assert "its global batch shrinks with it" in found["hint"]


@pytest.mark.parametrize(
    ("words", "lost", "cards", "wanted"),
    [
        (("--exclude-gpu", "0"), (), [1, 2], 2),
        (("--exclude-gpu", "0"), (1,), [2, 3], 2),
        (("--gpu", "4,5"), (5,), [4], 2),
    ],
)
def test_a_restart_holds_what_a_person_said_of_cards(box, words, lost, cards, wanted):
    """Its own cards again, else a spare, else fewer: never one that was not meant."""
    job = box.start(
        "--profile", 2, *words, script="faults.py", FAULTS="1:15:pause-kill", STEPS="20"
    )
    while not (box.marks / "1-15-pause-kill").exists():
        assert job.poll() is None, job.stdout.read()
        time.sleep(0.01)
    box.driver.set([*EIGHT, *(f"lost {index}" for index in lost)])
    box.let_go()
    (box.marks / "go").touch()
    code, said = ended(job)
    (run,) = (box.folder / "runs").glob("*-faults")
    plan = json.loads((run / "plan.json").read_text())

    assert code == 0, said
    assert (plan["attempt"], plan["gpu_indices"], plan["ranks_wanted"]) == (2, cards, wanted)
    assert {"--exclude-gpu": plan["exclude_gpus"], "--gpu": plan["gpus"]}[words[0]] == [words[1]]
    assert plan["port_asked"] is None
