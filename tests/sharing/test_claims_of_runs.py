"""What a run holds is its own, and launches take what others leave."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import replace

import pytest
from claiming import A, B, another, held_file, holds, host, indices, launched, lay, waits

from gpuops.core.launch.options import LaunchOptions
from gpuops.core.supervision.restart import Replan, Restart
from gpuops.errors import GpuopsError
from gpuops.launch.claim import claim_gpus
from gpuops.launch.contention import Contention
from gpuops.launch.prepare import prepare
from gpuops.supervise import run as supervising
from gpuops.system import claims

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users"),
    pytest.mark.usefixtures("place"),
]


def next_attempt(plan, move, contention):
    prepared = prepare(supervising._next_options(plan, move), contention)
    return claim_gpus(prepared, contention, print, print).launch.plan


SAME, LESS = Restart(after_s=0, why=""), Replan(after_s=0, why="", halve_batch=True)


@pytest.mark.parametrize(
    ("move", "changes", "gpus"),
    [
        (SAME, {}, [0, 1]),
        (LESS, {}, [0, 1]),
        (Replan(after_s=0, why="", without_gpus=("1",)), {}, [0]),
        (SAME, {1: {"state": "lost", "fault": "it is lost"}}, [0]),
    ],
    ids=["killed or hung", "halved batch", "GPU excluded", "GPU lost"],
)
def test_what_a_run_holds_is_its_own_at_each_restart(
    options, monkeypatch, place, move, changes, gpus
):
    """Whoever waits for all eight; it lets go only of what it takes no longer."""
    uuids = host(monkeypatch)
    with launched(options) as (contention, plan):
        before = contention.claims.names
        with another(B, waits(uuids, 8)):
            host(monkeypatch, *changes.items())
            again = next_attempt(plan, move, contention)

            assert indices(again) == gpus
            assert contention.claims.names <= before
            assert set(claims.holders()) == contention.claims.names
            assert len(list(place.glob("gpu-*"))) == len(gpus)


def test_a_run_whose_port_is_taken_claims_another_before_it_lets_go(options, monkeypatch):
    """And its GPUs stay."""
    uuids = host(monkeypatch)
    with launched(options) as (contention, plan), another(B, waits(uuids, 8)):
        with socket.socket() as rival:
            rival.bind(("", plan.master_port))
            again = next_attempt(plan, SAME, contention)

        assert indices(again) == [0, 1]
        assert again.master_port != plan.master_port
        assert claims.port(again.master_port) in claims.holders()
        assert claims.port(plan.master_port) not in claims.holders()


def test_a_spare_gpu_goes_to_who_waited_for_it(options, monkeypatch):
    """Only what the run held is its own: it goes on with fewer."""
    uuids = host(monkeypatch)
    busy, waiter = holds(claims.gpu(uuids[7])), waits(uuids[2:], 6)
    with launched(options) as (contention, plan), another(A, busy), another(B, waiter):
        host(monkeypatch, (1, {"state": "lost", "fault": "it is lost"}))
        again = next_attempt(plan, SAME, contention)

    assert indices(again) == [0]


def test_a_lock_that_names_ones_own_run_is_anothers(options, monkeypatch, place):
    """A launch that goes on with that run ends with a word on who holds the GPU."""
    uuids = host(monkeypatch)
    with launched(options) as (_, plan):
        pass
    record = json.dumps({"run_id": plan.run_id, "run_dir": plan.run_dir})
    with another(B, lambda: held_file(place, claims.gpu(uuids[0])).write_text(record)):
        resumed = prepare(LaunchOptions(resume=plan.run_dir, gpus=("0",), force=("torch",)))
        with pytest.raises(GpuopsError, match=f"GPU 0 is held by run .* of {B}"):
            claim_gpus(resumed, Contention(), print, print)


def test_what_is_lost_again_and_again_counts_as_held(options, monkeypatch):
    """Also if the holder cannot be seen: another GPU is taken."""
    uuids = host(monkeypatch)
    monkeypatch.setattr(claims, "holders", dict)
    contention = Contention()
    with another(B, holds(*map(claims.gpu, uuids[:2]))):
        plan = claim_gpus(prepare(options), contention, print, print).launch.plan
        assert indices(plan) == [2, 3]
        contention.claims.close()
        named, found = replace(options, gpus=("0", "1")), []
        with pytest.raises(GpuopsError, match="nothing was started: gpus"):
            claim_gpus(prepare(named), Contention(), print, found.extend)
        (words,) = [one.summary for one in found if one.check == "gpus"]
        assert re.search(f"GPU [01] is held by run theirs of {B}", words)


def test_a_launch_takes_what_odd_locks_leave(options, monkeypatch, place):
    """Its words name the GPU, the owner, the file."""
    uuids = host(monkeypatch)
    path = place / f"{claims.gpu(uuids[0])}.lock"
    with another(B, lambda: lay(path, "FIFO")), launched(options) as (_, plan):
        assert indices(plan) == [1, 2]
        with pytest.raises(GpuopsError, match=f"in use by {B}: its lock .*sudo rm"):
            claim_gpus(prepare(replace(options, gpus=("0",))), Contention(), print, print)


def test_an_odd_lock_of_a_port_moves_a_launch_to_another(options, monkeypatch, place, own_port):
    """Unless that port was named: then it is refused, with owner and file."""
    host(monkeypatch)
    path = place / f"{claims.port(own_port)}.lock"
    with another(B, lambda: lay(path, "folder")):
        moved = prepare(options)
        named = prepare(replace(options, master_port=own_port))
    (found,) = [one for one in named.findings if one.check == "port"]

    assert moved.launch.plan.master_port != own_port
    assert (
        f"port {own_port} is in use by {B}: its lock is a folder (`sudo rm -r {path}`"
        in found.summary
    )


def test_a_killed_job_starts_again_on_its_gpus_while_another_user_waits(
    tmp_path, mock_driver, quick_python, workers, gpuops, place
):
    """It lets go of them when it ends."""
    mock_driver.set(["driver 580.95.05", "cuda 13.0", "gpu 0-1 model=rtx4090"])
    marks, profiles = tmp_path / "marks", tmp_path / "profiles"
    marks.mkdir()
    profiles.mkdir()
    (profiles / "2.yaml").write_text("name: '2'\ngpus: {count: 2}\n")
    faults = {"MARKS": str(marks), "FAULTS": "1:15:pause-kill", "STEPS": "20"}
    words = ("launch", workers / "faults.py", "--profile", 2, "--python", quick_python)
    own = {**mock_driver.env, **faults, claims.VARIABLE: str(place)}
    job = gpuops.start(*words, "--force", "torch", environment=own)
    while not (marks / "1-15-pause-kill").exists():
        assert job.poll() is None
        time.sleep(0.01)
    held = [name.removeprefix("gpu-") for name in claims.holders() if name.startswith("gpu-")]
    with another(B, waits(held, 2)):
        (marks / "go").touch()
        assert job.wait(60) == 0
        assert claims.holders() == {}

    (run,) = (tmp_path / "runs").glob("*-faults")
    plan = json.loads((run / "plan.json").read_text())
    gpus = [device["index"] for node in plan["nodes"] for device in node["devices"]]
    assert (plan["attempt"], gpus) == (2, [0, 1])
