"""Training jobs found and ended, with tiny real programs."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from gpuops import reaper
from gpuops.core.machine.device import Device, GpuInventory, GpuProcess
from gpuops.core.monitor.hung_jobs import ProcessNow, decide
from gpuops.system.processes import jobs, process
from gpuops.system.processes.identity import Identity

GIB = 1024**3
NOBODY = 65534
# Adopts orphans as pid 1 does, and is no Python: the flag outlives the change of program.
ADOPTS = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(sys.argv[1:])
os.execvp("sleep", ["sleep", "60"])
"""
# Starts a rank as a launcher does that nobody knows.
LAUNCHES = "import subprocess, sys; subprocess.run(sys.argv[1:])"
SEES = """
import json, os, sys
from gpuops.system.processes import jobs
os.setuid(int(sys.argv[1]))
found = [job for job in jobs.find() if any(p.pid == int(sys.argv[2]) for p in job.processes)]
print(json.dumps([[job.user, job.ours, [p.environment for p in job.ranks]] for job in found]))
"""


def wait_until(true, timeout_s=20.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


class Stage:
    """A place for jobs whose ranks stand still; it ends all that it has started."""

    def __init__(self, folder, workers):
        self.ready = folder / "ready"
        self.ready.mkdir()
        self.torchrun = folder / "torchrun"
        self.torchrun.symlink_to(workers / "torchrun.py")
        self.stands = str(workers / "stands.py")
        self.environment = {
            "READY": str(self.ready),
            "TORCHELASTIC_RUN_ID": str(folder),
            "MASTER_PORT": "29501",
        }
        self.started = []
        (folder / "logs").mkdir()
        self.command = [sys.executable, str(self.torchrun), "--nproc-per-node", "2", "--rdzv-id"]
        self.command += ["x", "--log-dir", str(folder / "logs"), "--", self.stands]

    def start(self, *command, ranks=2, user=None, executable=None, **environment):
        """Start a command (the torchrun) and wait until so many processes stand."""
        before = self.standing()
        self.started.append(
            subprocess.Popen(
                command or self.command,
                env={**os.environ, **self.environment, **environment},
                user=user,
                executable=executable,
                start_new_session=True,
            )
        )
        wait_until(lambda: len(self.standing() - before) >= ranks)
        return self.started[-1].pid

    def standing(self):
        """The pids that have said so."""
        return {int(file.name) for file in self.ready.iterdir()}

    def jobs(self, inventory=None):
        """Those of this stage alone: others may train on the machine."""
        return [
            job
            for job in jobs.find(inventory)
            if any(p.variable("TORCHELASTIC_RUN_ID") == str(self.ready.parent) for p in job.ranks)
        ]

    def job(self, inventory=None):
        (job,) = self.jobs(inventory)
        return job

    def clear(self):
        for pid in self.standing():
            named = reaper.identity(pid)
            if named and psutil.Process(pid).environ().get("READY") == str(self.ready):
                Identity(**named).send(signal.SIGKILL)
        for child in self.started:
            child.kill()
            child.wait()


@pytest.fixture(name="stage")
def _stage(tmp_path, workers):
    stage = Stage(tmp_path, workers)
    yield stage
    stage.clear()


def test_a_torchrun_is_found_with_its_ranks(stage):
    """Who they are, whose, in what state, since when; and what the ranks started."""
    agent = stage.start(ranks=4, LOADER="1")
    job = stage.job()
    first = job.ranks[0]

    assert ("torchrun", agent, [0, 1]) == (job.launcher, job.agent.pid, [r.rank for r in job.ranks])
    assert sorted(r.pid for r in job.ranks) == sorted(child.parent_pid for child in job.children)
    assert (getpass.getuser(), True) == (job.user, job.ours)
    assert Identity(**reaper.identity(first.pid)) == jobs.identity(first)
    assert (agent, "S", True) == (first.parent_pid, first.state, first.python)
    assert first.started_at_s == pytest.approx(time.time(), abs=60)
    assert first.argv[-1] == stage.stands
    assert set(first.environment) <= set(jobs.VARIABLES)
    assert ((), None) == (job.gpus, job.gpu_memory_bytes)


def test_a_run_of_gpuops_is_known(stage, tmp_path):
    """Through its reaper, which is not torchrun though it names it."""
    run = {"GPUOPS_RUN_ID": "a-run", "GPUOPS_BEAT_DIR": f"{tmp_path}/a-run/state/attempt-3/beats"}
    environment = {**stage.environment, **run}
    (tmp_path / "state").mkdir()
    shim = process.start(
        stage.command, environment, str(tmp_path), tmp_path / "state", tmp_path / "agent.log"
    )
    stage.started.append(shim.child)
    wait_until(lambda: len(stage.standing()) == 2)
    job = stage.job()

    assert ("a-run", f"{tmp_path}/a-run", 3) == (job.run_id, job.run_dir, job.attempt)
    assert (shim.pid, shim.agent.pid) == (job.reaper.pid, job.agent.pid)
    assert job.supervisor_pid is None

    shim.child.send_signal(signal.SIGSTOP)  # else it would end the orphans
    shim.agent.send(signal.SIGKILL)
    wait_until(lambda: not shim.agent.alive)
    job = stage.job()

    assert ("lost", None, shim.pid) == (job.launcher, job.agent, job.reaper.pid)
    assert {shim.pid} == {found.parent_pid for found in job.ranks}


def test_ranks_of_a_killed_torchrun_are_lost(stage):
    """They live on under whoever adopts them; its own evidence ends them, and nothing is left."""
    adopter = stage.start(sys.executable, "-c", ADOPTS, *stage.command, ranks=4, LOADER="1")
    agent = jobs.identity(stage.job().agent)
    agent.send(signal.SIGKILL)
    wait_until(lambda: not agent.alive)
    job = stage.job()

    assert ("lost", None) == (job.launcher, job.agent)
    assert [adopter] * 2 == [found.parent_pid for found in job.ranks]
    assert 2 == len(job.children)

    ruling = decide(job, None, jobs.look_again([job]))
    assert 4 == len(ruling.stop)
    assert f"left it to pid {adopter}" in ruling.evidence[0]
    assert () == jobs.end(ruling.stop, terminate_s=10, kill_s=10)
    assert [] == stage.jobs()


@pytest.mark.parametrize("name", [sys.executable, "my-launcher"])
def test_ranks_of_another_launcher_are_not_lost(stage, name):
    """It lives, and is a Python, whatever it calls itself."""
    stage.start(
        *(name, "-c", LAUNCHES, sys.executable, stage.stands),
        executable=sys.executable, ranks=1, RANK="0", LOCAL_RANK="",
    )  # fmt: skip
    assert [] == stage.jobs()
    stage.start(
        *(name, "-c", LAUNCHES, "env", "RANK=0", "LOCAL_RANK=0", sys.executable, stage.stands),
        executable=sys.executable, ranks=1,
    )  # fmt: skip

    assert ("unknown", None) == (stage.job().launcher, stage.job().agent)
    assert () == decide(stage.job(), None, jobs.look_again([stage.job()])).stop


def test_what_a_job_holds_is_told_from_the_gpus(stage):
    """By pid, on each GPU that lists it."""
    stage.start()
    held, free = (found.pid for found in stage.job().ranks)
    listed = (GpuProcess(pid=held, memory_bytes=GIB),)
    inventory = GpuInventory(
        devices=(Device(index=0, processes=()), Device(index=3, processes=listed))
    )
    job = stage.job(inventory)

    assert ((3,), GIB) == (job.gpus, job.gpu_memory_bytes)
    assert [(held, (3,), GIB), (free, (), 0)] == [
        (found.pid, found.gpus, found.gpu_memory_bytes) for found in job.ranks
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_job_of_another_user_is_not_ours(stage):
    """It is listed with the user's name, and left alone."""
    agent = stage.start()
    seen = [sys.executable, "-c", SEES, str(NOBODY), str(agent)]
    found = json.loads(subprocess.run(seen, check=True, capture_output=True).stdout)

    assert [["root", False, [None, None]]] == found
    stage.start("sleep", "60", ranks=0, user=NOBODY, RANK="0", LOCAL_RANK="0")
    (theirs,) = (job for job in stage.jobs() if not job.ours)
    assert "nobody" == theirs.user
    assert "not ours" == decide(theirs, None, jobs.look_again([theirs])).refused[0].reason


def test_the_job_that_asks_is_not_listed(stage):
    """A command that was started by a rank is not to end itself."""
    asks = "from gpuops.system.processes import jobs; import os; me = os.environ['READY']; print(*["
    asks += "p.pid for job in jobs.find() for p in job.processes if p.pid == os.getpid()])"
    environment = {**os.environ, **stage.environment, "RANK": "0", "LOCAL_RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", asks], env=environment, check=True, capture_output=True
    )

    assert b"\n" == done.stdout


def test_a_second_look_tells_who_is_there_now(stage):
    """The state may have changed; who has ended is nobody, though not waited for."""
    stage.start()
    job = stage.job()
    first, second = job.ranks
    jobs.identity(first).send(signal.SIGSTOP)
    jobs.identity(second).send(signal.SIGKILL)
    wait_until(lambda: not jobs.identity(second).alive)
    wait_until(lambda: jobs.look_again([job])[first.pid].state == "T")

    assert ProcessNow(start_ticks=first.start_ticks, state="T") == jobs.look_again([job])[first.pid]
    assert second.pid not in jobs.look_again([job])


@pytest.mark.parametrize("fault", ["none", "ignore", "stopped"])
def test_a_job_is_ended_however_deaf_it_is(stage, fault):
    """Gently where that does it; it takes the first rung's time where it does not."""
    stage.start(FAULT=fault)
    job = stage.job()
    if fault == "stopped":
        jobs.identity(job.ranks[0]).send(signal.SIGSTOP)
        wait_until(lambda: jobs.look_again([job])[job.ranks[0].pid].state == "T")
    begin = time.monotonic()

    assert () == jobs.end(job.ranks, terminate_s=0.3, kill_s=20)
    assert (time.monotonic() - begin >= 0.3) == (fault != "none")
    assert not any(jobs.identity(found).alive for found in job.ranks)
    assert () == jobs.end(job.ranks, terminate_s=20, kill_s=20)


def test_who_outlasts_everything_is_named(stage):
    """The waits are bounded."""
    stage.start(FAULT="ignore")
    job = stage.job()

    assert job.ranks == jobs._outlast(job.ranks, 0.05)


def test_nobody_is_ended_in_anothers_place(stage):
    """The pid is the same, and the start time another."""
    stage.start()
    job = stage.job()
    others = [replace(found, start_ticks=found.start_ticks - 1) for found in job.ranks]

    assert () == jobs.end(others, terminate_s=20, kill_s=20)
    assert all(jobs.identity(found).alive for found in job.ranks)
