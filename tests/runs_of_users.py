"""Runs of several users in one folder, and gpuops as each of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from run_folders import a_plan

from gpuops import reaper
from gpuops.core.launch.plan import Target
from gpuops.system.runs import run_dir

ANN, BOB = 60001, 60002


class Place:
    """A folder that everybody can write, with the runs of several users."""

    def __init__(self, folder, gpuops):
        self.folder, self.runs = folder, folder / "runs"
        self.run_by_plan = folder / "was-run"
        self.evil = folder / "evil.sh"
        self.evil.write_text(f"#!/bin/sh\ntouch {self.run_by_plan}\necho '{{}}'\n")
        self.evil.chmod(0o755)
        self.runs.mkdir()
        for one in (folder, self.runs):
            one.chmod(0o1777)
        self._gpuops = gpuops
        self.started = []

    def make(self, uid, name="20260101-000000-toy", **changes):
        """A run of a trainer, whose interpreter would be noticed."""
        target = Target(kind="trainer", name="rvq", entry="trainers.rvq.train")
        plan = replace(a_plan(self.runs, name), target=target, python=str(self.evil), **changes)
        run_dir.create(plan)
        root = Path(plan.run_dir)
        self.give(root, uid)
        return root

    def give(self, root, uid):
        for path in (root, *root.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)

    def start(self, uid, *command, **environment):
        """A process of a user."""
        own = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
        child = subprocess.Popen(own, env={**os.environ, **environment}, start_new_session=True)
        self.started.append(child)
        while Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(b"setpriv"):
            time.sleep(0.002)
        return child

    def start_job(self, root, uid, seconds="600"):
        """A real job of a run: reaper and torchrun, which is a ``sleep``."""
        state = root / "state" / "attempt-1"
        command = [sys.executable, "-I", reaper.__file__, str(state), str(root / "agent.log")]
        beats = {"GPUOPS_BEAT_DIR": str(state / "beats")}
        child = self.start(uid, *command, "--", "sleep", seconds, **beats)
        while not (state / "process.json").exists():
            time.sleep(0.002)
        return child

    def gpuops(self, *words, user=ANN):
        done = self._gpuops(*words, "--runs-dir", self.runs, user=user)
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        return done.returncode, said

    def json(self, *words):
        done = self._gpuops(*words, "--json", "--runs-dir", self.runs, user=ANN)
        return json.loads(done.stdout)


@contextlib.contextmanager
def place_of_users(gpuops):
    """A place that is gone at the end, with all that was started in it."""
    folder = Path(tempfile.mkdtemp(prefix="gpuops-sharing-"))
    gpuops.folder = folder
    place = Place(folder, gpuops)
    yield place
    for child in place.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    shutil.rmtree(folder)
