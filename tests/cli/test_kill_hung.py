"""Hung jobs ended and healthy ones left alone, with tiny real programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from gpuops_runner import COMMAND

from gpuops import heartbeat, reaper
from gpuops.system.processes.identity import Identity, local

# Adopts orphans as pid 1 does, and is no Python: the flag outlives the change of program.
ADOPTS = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(sys.argv[1:])
os.execvp("sleep", ["sleep", "60"])
"""
# It beats, and never again.
QUIET = "import time; from gpuops import heartbeat; heartbeat.beat(step=7); time.sleep(600)"


def wait_until(true, timeout_s=30.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


class Morning:
    """Jobs of the night, and somebody who comes to clean up."""

    def __init__(self, folder, python, workers, gpuops):
        self.folder, self.python, self.gpuops = folder, python, gpuops
        self.script = workers / "faults.py"
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.started = []

    def start(self, *command, **environment):
        own = {"MARKS": str(self.marks), "GPUOPS_LEASE_DIR": str(self.folder / "claims")}
        job = subprocess.Popen(
            [*map(str, command)],
            cwd=self.folder,
            env={**os.environ, **own, "STEPS": "100000", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.started.append(job)
        return job

    def launch(self, *options, before=(), **environment):
        own = ("--profile", "cpu", "--python", self.python, "--observe")
        words = ("launch", self.script, *own, *options)
        if before:
            job = self.start(*before, *COMMAND, *words, **environment)
        else:
            environment = {"MARKS": str(self.marks), "STEPS": "100000", **environment}
            job = self.gpuops.start(*words, environment=environment)
            self.started.append(job)
        wait_until(lambda: len(self.beats()) == 2 and all(beat.step for beat in self.beats()))
        return job

    def clean(self, *options):
        """The command off a terminal: its exit code and what it said."""
        done = self.gpuops("kill-hung", "--run", "last", *options)
        return (
            done.returncode,
            done.stdout + done.stderr if "--json" not in options else done.stdout,
        )

    def answer(self, word, *options, before=lambda: None):
        """The command on a terminal, where somebody answers, and something happens before."""
        ours, theirs = os.openpty()
        said = self.folder / "said"
        with said.open("w") as file:
            asks = self.gpuops.start(
                "kill-hung", "--run", "last", *options, stdin=theirs, stdout=file, stderr=file
            )
            try:
                wait_until(lambda: "[y/N]" in said.read_text() or asks.poll() is not None)
                before()
                os.write(ours, f"{word}\n".encode())
                return asks.wait(timeout=60), said.read_text()
            finally:
                asks.kill()
                os.close(ours)
                os.close(theirs)

    @property
    def run(self):
        (run,) = (self.folder / "runs").glob("*-faults")
        return run

    @property
    def state(self):
        return self.run / "state" / "attempt-1"

    def beats(self):
        folders = list((self.folder / "runs").glob("*-faults/state/attempt-1/beats"))
        return heartbeat.read_all(folders[0]) if folders else []

    def steps(self):
        return [beat.step for beat in self.beats()]

    def silent(self):
        """All have beaten last, a while ago."""
        return all(time.monotonic() - beat.monotonic_s > 1.0 for beat in self.beats())

    def ranks(self):
        return {beat.rank: Identity(**reaper.identity(beat.pid)) for beat in self.beats()}

    def left(self):
        """Processes of the job that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MARKS") == str(self.marks) and process.name() != "sleep":
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]

    def clear(self):
        for process in self.left():
            process.kill()
        for job in self.started:
            job.kill()
            job.wait()


@pytest.fixture(name="morning")
def _morning(tmp_path, quick_python, workers, gpuops, own_port):  # noqa: ARG001 - ./profiles/cpu.yaml
    morning = Morning(tmp_path, quick_python, workers, gpuops)
    yield morning
    morning.clear()


def test_a_hung_job_is_shown_then_ended_with_its_supervisor(morning):
    """Who is not asked and a dry run end nothing; `--yes` ends all, and nothing starts again."""
    job = morning.launch("--hang-timeout", "0.5s", FAULTS="1:15:stop")
    wait_until((morning.marks / "1-15-stop").exists)
    ranks = morning.ranks()
    code, said = morning.clean()
    assert (2, True) == (code, "there is no terminal to ask on" in said)

    code, said = morning.clean("--dry-run", "--watch", "1s", "--json")
    (found,) = json.loads(said)["jobs"]

    assert 1 == code
    assert ("hung", True, job.pid) == (found["assessment"], found["sure"], found["supervisor_pid"])
    assert "rank 1 stopped (state T)" in found["evidence"][0]
    assert ("rank stopped", 1) == (found["diagnosis"]["kind"], found["diagnosis"]["rank"])
    assert {rank.pid for rank in ranks.values()} < set(found["stop"])
    assert all(rank.alive for rank in ranks.values())
    assert job.poll() is None

    code, said = morning.clean("--yes", "--watch", "1s")

    assert 0 == code, said
    assert f"rank 1 (pid {ranks[1].pid})" in said
    assert 128 + signal.SIGTERM == job.wait(timeout=20)
    assert [] == morning.left()
    assert 1 == len(list((morning.run / "state").iterdir()))
    assert '"kill_hung"' in (morning.run / "events.jsonl").read_text()


def test_a_healthy_job_is_left_alone(morning):
    """It moves, and goes on moving."""
    job = morning.launch()
    code, said = morning.clean("--yes", "--watch", "1s")
    steps = morning.steps()

    assert 0 == code, said
    assert "left alone: it moves" in said
    wait_until(lambda: all(now > then for now, then in zip(morning.steps(), steps, strict=True)))
    assert job.poll() is None


def test_a_silence_from_before_we_came_counts(morning):
    """A job that hangs since yesterday is known at once, though its supervisor has died."""
    morning.script = morning.folder / "quiet-faults.py"
    morning.script.write_text(QUIET)
    job = morning.launch("--hang-timeout", "1s")
    job.kill()
    wait_until(morning.silent)
    code, said = morning.clean("--yes", "--watch", "1s")

    assert 0 == code, said
    assert "no beat for" in said
    wait_until(lambda: not morning.left())


def test_what_moves_again_before_the_answer_is_left_alone(morning):
    """A person takes time; the job may have gone on meanwhile."""
    job = morning.launch("--hang-timeout", "0.5s", FAULTS="1:15:stop")
    wait_until((morning.marks / "1-15-stop").exists)
    rank, steps = morning.ranks()[1], morning.steps()

    def let_it_go_on():
        rank.send(signal.SIGCONT)
        wait_until(lambda: morning.steps()[1] > steps[1])

    code, said = morning.answer("y", "--watch", "1s", before=let_it_go_on)

    assert 0 == code, said
    assert "makes progress again" in said
    assert (True, None) == (rank.alive, job.poll())


def test_orphans_are_ended_where_somebody_says_so(morning):
    """torchrun and the reaper have died; a no leaves them alone, a yes ends them."""
    morning.launch(before=(sys.executable, "-c", ADOPTS))
    agent, shim = local(morning.state, "agent"), local(morning.state, "reaper")
    ranks = morning.ranks().values()
    for process in morning.left():
        if "launch" in process.cmdline():
            process.kill()
    shim.send(signal.SIGSTOP)  # else it would end the orphans
    agent.send(signal.SIGKILL)
    wait_until(lambda: not agent.alive)
    shim.send(signal.SIGKILL)
    wait_until(lambda: not shim.alive)

    code, said = morning.answer("n")
    assert (1, True) == (code, all(rank.alive for rank in ranks)), said
    assert "torchrun has died" in said

    code, said = morning.answer("y")
    assert (0, False) == (code, any(rank.alive for rank in ranks)), said
    assert [] == morning.left()


def test_a_job_without_beats_is_unclear(morning, workers):
    """Seconds of silence say nothing of it: it is shown and left alone."""
    ready, logs = morning.folder / "ready", morning.folder / "logs"
    ready.mkdir()
    logs.mkdir()
    torchrun = morning.folder / "torchrun"
    torchrun.symlink_to(workers / "torchrun.py")
    options = ("--nproc-per-node", "2", "--rdzv-id", "x", "--log-dir", logs, "--")
    command = (sys.executable, torchrun, *options, workers / "stands.py")
    job = morning.start(*command, READY=str(ready), TORCHELASTIC_RUN_ID=str(ready))
    wait_until(lambda: len(list(ready.iterdir())) == 2)
    done = morning.gpuops("kill-hung", "--pid", job.pid, "--watch", "1s", "--yes")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "unclear" in done.stdout
    assert "it sends no heartbeats" in done.stdout
    assert job.poll() is None


def test_a_run_that_is_not_there_is_said(morning):
    """By a sentence, before anything is watched."""
    code, said = morning.clean("--dry-run", "--run", "none-such")

    assert 2 == code
    assert "there is no run 'none-such'" in said
