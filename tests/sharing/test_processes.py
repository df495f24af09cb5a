"""Every process of an attempt is accounted for, whichever of them is killed or stopped."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from run_folders import a_plan, record_process

from gpuops import reaper
from gpuops.core.supervision.progress import Progress
from gpuops.core.supervision.restart import GiveUp
from gpuops.core.supervision.run import Outcome
from gpuops.diagnose import crashed_unwatched
from gpuops.errors import GpuopsError
from gpuops.launch.launch import Launch
from gpuops.supervise import run as run_module
from gpuops.supervise.run import Adopted, run_attempts
from gpuops.system import files
from gpuops.system.processes import members
from gpuops.system.processes.identity import Identity, local
from gpuops.system.processes.process import Job
from gpuops.system.runs import events, records, run_dir, supervisor_lock
from gpuops.ui import launches, runs


def wait_until(true, timeout_s=20.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)
    return found


class Hall:
    """A launch of two ranks that stand, and its processes by name."""

    def __init__(self, folder, gpuops, pool, python, workers):
        self.folder, self.gpuops, self._pool = folder, gpuops, pool
        self.marks = folder / "marks"
        self.marks.mkdir()
        profile = folder / "profiles" / "cpu.yaml"
        profile.write_text(profile.read_text() + "stop: {save_s: 0.3, terminate_s: 0.3}\n")
        gpuops.environment["MARKS"] = str(self.marks)
        self._command = ["launch", workers / "attempts.py", "--profile", "cpu", "--python", python]

    def launch(self, pids=2, **environment):
        """Launch it, and wait until its processes stand and are recorded."""
        self.launched = self._pool.submit(self.gpuops, *self._command, **environment)
        wait_until(lambda: len(self.pids()) == pids or self.launched.done())
        wait_until(lambda: {*self.pids()} <= {m.identity.pid for m in members.read(self.state)})
        return self

    @property
    def root(self):
        return next((self.folder / "runs").glob("*-attempts"))

    @property
    def state(self):
        return self.root / "state" / "attempt-1"

    def pids(self):
        return [int(mark.name.removeprefix("pid-")) for mark in self.marks.glob("pid-*")]

    def send(self, number, *names):
        """Signal some of its processes at once, none of which may learn of it from another."""
        ranks = {str(m.rank): m.identity for m in members.read(self.state)}
        own = {name: local(self.state, name) for name in ("reaper", "agent")}
        found = {"supervisor": supervisor_lock.holder(self.root), **own, **ranks}
        for name in names:
            found[name].send(signal.SIGSTOP)
        for name in names:
            found[name].send(number)
        return [found[name] for name in names]

    def left(self):
        return [one for one in members.read(self.state) if one.identity.alive]

    def events(self, kind):
        return [event for event in events.read(self.root) if event["event"] == kind]


@pytest.fixture(name="hall")
def _hall(tmp_path, gpuops, quick_python, workers, own_port):  # noqa: ARG001 - ./profiles/cpu.yaml
    with ThreadPoolExecutor(1) as pool:
        hall = Hall(tmp_path, gpuops, pool, quick_python, workers)
        yield hall
        for root in (tmp_path / "runs").glob("*"):
            (supervisor_lock.holder(root) or Identity(0, 0)).send(signal.SIGKILL)
            state = root / "state" / "attempt-1"
            for one in (local(state, "reaper"), local(state, "agent")):
                (one or Identity(0, 0)).send(signal.SIGKILL)
            for one in members.left(state):
                one.identity.send(signal.SIGKILL)


@pytest.mark.parametrize("victims", [["reaper"], ["reaper", "agent", "1"]])
def test_the_next_attempt_begins_when_the_rest_has_gone(hall, victims):
    """Ranks that ignore SIGTERM, and a child without their environment, included."""
    hall.launch(pids=3, HELPER="1", FAULT="ignore").send(signal.SIGKILL, *victims)
    done = hall.launched.result(timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [e["outcome"] for e in hall.events("attempt_ended")] == ["failed", "finished"]
    assert hall.events("diagnosis")[0]["why"] == (
        "gpuops' reaper above torchrun was ended by SIGKILL, and the rest of the job after it"
    )
    assert not (hall.marks / "BESIDE").exists()
    assert [] == hall.left()
    assert "finished" == hall.events("run_ended")[-1]["outcome"]


def test_a_stop_ends_what_a_dead_supervisor_reaper_and_torchrun_left(hall):
    """It says stopped when they are gone; until then the run is not started again."""
    hall.launch(pids=3, HELPER="1", FAULT="ignore")
    hall.send(signal.SIGKILL, "supervisor", "reaper", "agent")
    hall.launched.result(timeout=60)
    resumed = hall.gpuops("launch", "--resume", "last")

    assert 2 == resumed.returncode
    assert "is still running: rank 0 (pid " in resumed.stderr.replace("\n", " ")
    assert "running" == records.load(hall.root).status
    stopped = hall.gpuops("stop", "last")
    assert 128 + signal.SIGTERM == stopped.returncode, stopped.stderr
    assert [] == hall.left()
    assert {None} == {reaper.identity(pid) for pid in hall.pids()}
    assert "stopped" == records.load(hall.root).status


def test_a_run_that_nobody_saw_end_is_diagnosed_by_what_it_left(hall):
    """It is not one with which nothing was wrong."""
    hall.launch().send(signal.SIGKILL, "supervisor", "reaper", "agent", "0", "1")
    hall.launched.result(timeout=60)
    asked = hall.gpuops("diagnose", "last", "--json")

    assert (0, "signal") == (asked.returncode, json.loads(asked.stdout)["kind"]), asked.stderr
    assert "gpuops' reaper above torchrun was ended by SIGKILL" in asked.stdout
    assert "no supervisor saw it end" in asked.stderr


def test_a_run_that_its_watchers_and_ranks_have_left_is_diagnosed_by_what_it_left(hall):
    """What lives on is named, with what ends it."""
    hall.launch(pids=3, HELPER="1").send(signal.SIGKILL, "supervisor", "reaper", "agent", "0", "1")
    hall.launched.result(timeout=60)
    (helper,) = (one.identity.pid for one in hall.left())
    asked = hall.gpuops("diagnose", "last", COLUMNS="300")

    assert 0 == asked.returncode, asked.stderr
    assert "reaper above torchrun was ended by SIGKILL" in asked.stdout
    assert f"`gpuops stop {hall.root.name}` ends what lives on: pid {helper}" in asked.stderr


@pytest.mark.parametrize(
    ("boot", "why"), [("another", "host .+ was restarted while it ran"), (None, "before it began")]
)
def test_a_run_that_vanished_with_its_host_is_told_from_one_that_never_began(tmp_path, boot, why):
    """Both have no record of an end."""
    plan = a_plan(tmp_path)
    run_dir.create(plan)
    if boot is not None:
        record_process(Path(plan.run_dir), reaper={**reaper.identity(os.getpid()), "boot_id": boot})
    found = crashed_unwatched(plan)

    assert found.sure
    assert re.search(why, found.why)


def test_a_supervisor_that_is_stopped_is_told_and_continued(hall):
    """What has finished meanwhile stays finished, though it is asked to stop."""
    go = hall.folder / "go"
    hall.launch(GO=str(go))
    (supervisor,) = hall.send(signal.SIGSTOP, "supervisor")
    wait_until(lambda: supervisor.stopped)
    words = f"unsupervised: its supervisor is stopped (kill -CONT {supervisor.pid})"
    record = records.load(hall.root)
    console = Console(width=160)
    with console.capture() as shown:
        console.print(runs.runs([record], time.time()))
        console.print(runs.run(record, [], [], {}))

    assert 2 == shown.get().count(words)
    go.touch()
    wait_until((hall.state / "exit.json").exists)
    supervisor_lock.retire([hall.root], now=False, within_s=20)
    done = hall.launched.result(timeout=60)

    assert 0 == done.returncode, done.stderr
    assert "finished" == records.load(hall.root).status


@pytest.fixture(name="adopted")
def _adopted(tmp_path, monkeypatch):
    """A run whose attempts fail at once, without a process."""
    plan = a_plan(tmp_path)
    launch = Launch(plan=plan, manifest=None, settings={})
    run_module.make_folder(launch)
    failed = Outcome(
        ending="failed",
        returncode=1,
        stop_signal=None,
        failure=None,
        diagnosis=None,
        progress=Progress(),
        first_step=None,
        duration_s=1.0,
    )
    monkeypatch.setattr(run_module, "watch", lambda *_: failed)
    return Adopted(launch=launch, job=Job(Path(plan.state_dir)))


def screen():
    return launches.Screen(Console(file=io.StringIO()), brief=False)


def test_a_run_that_ends_has_an_ending_on_record(adopted):
    """Whatever its last attempt left."""
    run_attempts(adopted, screen())
    root = Path(adopted.launch.plan.run_dir)

    assert "failed" == records.load(root).status
    assert ["run_ended"] == [event["event"] for event in events.read(root)]


def test_a_copy_of_a_folder_has_no_processes(tmp_path):
    """They are those of the original: to stop the copy must not end them."""
    original = tmp_path / "original"
    original.mkdir()
    members._write(original, [OURSELVES])
    shutil.copytree(original, tmp_path / "copy")
    (tmp_path / "link").symlink_to("original")

    assert (OURSELVES,) == members.read(original) == members.read(tmp_path / "link")
    assert () == members.read(tmp_path / "copy")


def test_what_cannot_be_prepared_is_a_give_up_on_record(adopted, monkeypatch):
    """Like any other: a detached run does not just stop."""

    def refuse(*_):
        raise GpuopsError("2 of the GPUs are missing.", "Wait for them.")

    restart = run_module.Restart(after_s=0.0, why="it was killed")
    moves = [restart, None]
    decided = run_module.machine.next_move

    def next_move(state, event):
        state, move = decided(state, event)
        return state, moves.pop(0) or move

    monkeypatch.setattr(run_module.machine, "next_move", next_move)
    monkeypatch.setattr(run_module, "prepare", refuse)
    found = run_attempts(adopted, screen())
    happened = events.read(Path(adopted.launch.plan.run_dir))

    assert GiveUp(why="2 of the GPUs are missing", advice="Wait for them.") == found.given_up
    assert ["restart", "giveup", "run_ended"] == [event["event"] for event in happened]
    assert "2 of the GPUs are missing" == happened[1]["why"]


OBSTACLES = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "link": lambda path: path.symlink_to("theirs"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_nothing_runs_without_a_supervisors_lock(adopted, monkeypatch, obstacle):
    """It is taken before the job starts; what has its name is left as it is."""
    root = Path(adopted.launch.plan.run_dir)
    (root / "theirs").write_text("theirs")
    prepared = SimpleNamespace(launch=adopted.launch, environment=None)
    begun = []
    monkeypatch.setattr(run_module, "claim_gpus", lambda *_: prepared)
    monkeypatch.setattr(run_module, "begin", lambda *_: begun.append("a job"))
    monkeypatch.setattr(
        run_module, "make_folder", lambda _: OBSTACLES[obstacle](root / "supervisor.lock")
    )
    with pytest.raises(GpuopsError, match=r"supervisor\.lock cannot be written: ") as caught:
        run_attempts(prepared, screen())

    assert ([], "failed") == (begun, records.load(root).status)
    assert "has no supervisor" in caught.value.message
    assert "theirs" == (root / "theirs").read_text()


OURSELVES = members.Member(Identity(**reaper.identity(os.getpid())), rank=3)


@pytest.mark.parametrize(
    "listed",
    [[{"pid": 1, "start_ticks": 1, "host": "h", "boot_id": "b"}], [3, None], {"a": 1}, None, "x"],
)
def test_a_record_of_another_boot_or_shape_is_nobody(tmp_path, listed):
    """It may have been edited, or be of another version."""
    record = {"state_dir": str(tmp_path), "members": listed}
    files.write_json(tmp_path / "members.json", record)

    assert () == members.alive(members.read(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
def test_another_users_record_is_not_believed(tmp_path):
    """It could name any process of ours."""
    members._write(tmp_path, [OURSELVES])
    assert (OURSELVES,) == members.read(tmp_path)

    os.chown(tmp_path / "members.json", 60001, 60001)
    assert () == members.read(tmp_path)
