"""kill-hung ends no healthy process, however much its environment looks like that of a rank."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from gpuops.cli.kill_hung import _chosen
from gpuops.core.monitor.hung_jobs import decide
from gpuops.hung_jobs import examine
from gpuops.system.processes import jobs
from gpuops.ui.hung_jobs import cases

# Adopts orphans as pid 1 does, and is no Python: the flag outlives the change of program.
ADOPTS = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.run(sys.argv[1:])
os.execvp("sleep", ["sleep", "600"])
"""
# A rank in a session of its own, and what it started; all of it is left behind.
LEFT = (
    'RANK=0 setsid "$0" -u "$1" rank & RANK=1 "$0" -u "$1" upload.py & RANK=2 "$0" "$1" jupyter &'
)
TWINS = 'RANK=0 setsid "$0" -u "$1" rank & RANK=0 setsid "$0" -u "$1" copy &'


class Desk:
    """Processes of one user with the environment of a job."""

    def __init__(self, folder, workers):
        self.ready, self.stands = folder / "ready", str(workers / "stands.py")
        self.ready.mkdir()
        own = {"READY": str(self.ready), "TORCHELASTIC_RUN_ID": str(folder), "MASTER_PORT": "29501"}
        self.environment = {**os.environ, **own, "LOCAL_RANK": "0", "WORLD_SIZE": "3"}
        self.started = []

    def start(self, *command, count=1, **environment):
        """Start a command in a session of its own; wait until so many processes stand."""
        env = {**self.environment, **environment}
        self.started.append(subprocess.Popen(command, env=env, start_new_session=True))
        end = time.monotonic() + 20
        while len(list(self.ready.iterdir())) < count or self.adopter() not in {"bash", "sleep"}:
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.005)

    def leave(self, script, count):
        """Run a shell's script under a process that adopts what it leaves behind."""
        shell = ("setsid", "sh", "-c", script, sys.executable, self.stands)
        self.start(sys.executable, "-c", ADOPTS, *shell, count=count)

    def adopter(self):
        return Path(f"/proc/{self.started[-1].pid}/comm").read_text().strip()

    def jobs(self):
        run = str(self.ready.parent)
        return [
            job
            for job in jobs.find()
            if any(p.variable("TORCHELASTIC_RUN_ID") == run for p in job.processes)
        ]

    def clear(self):
        for mark in self.ready.iterdir():
            os.kill(int(mark.name), signal.SIGKILL)
        for child in self.started:
            child.kill()
            child.wait()


@pytest.fixture(name="desk")
def _desk(tmp_path, workers):
    desk = Desk(tmp_path, workers)
    yield desk
    desk.clear()


def certain(desk):
    """The last words of the commands that would be ended unasked, and of those after a yes."""
    found = [decide(job, None, jobs.look_again([job])) for job in desk.jobs()]
    sure = sorted(one.argv[-1] for each in found for one in _chosen(each, yes=True).stop)
    return sure, sorted(one.argv[-1] for decision in found for one in decision.stop)


def test_a_debugged_copy_of_a_rank_in_a_living_shell_is_no_job(desk):
    """Its variables were exported to look for a mistake; the shell waits for it."""
    desk.start("bash", "-c", f"export RANK=0; {sys.executable} -u {desk.stands}; true")

    assert [] == desk.jobs()


def test_a_rank_does_not_condemn_what_was_left_beside_it(desk):
    """A tool that uploads and a notebook are for a person to decide."""
    desk.leave(LEFT, count=3)

    assert (["rank"], ["jupyter", "rank", "upload.py"]) == certain(desk)


def test_of_two_that_are_the_same_rank_neither_is_certain(desk):
    """One of them is a copy, in a session of its own as well."""
    desk.leave(TWINS, count=2)

    assert ([], ["copy", "rank"]) == certain(desk)


def test_who_is_asked_is_told_what_is_not_certain(desk):
    """A yes must not end a notebook because the screen called it a rank that lost its torchrun."""
    desk.leave(TWINS, count=2)
    console = Console(file=io.StringIO(), width=200)
    console.print(cases(examine(desk.jobs(), 0)))
    shown = console.file.getvalue()

    assert shown.startswith("suspect")
    assert "only if you say so" in shown
