"""A supervisor's lock in a folder that others can write: none of theirs counts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import time

import pytest
from runs_of_users import BOB, place_of_users

from gpuops import reaper
from gpuops.errors import GpuopsError, UsageError
from gpuops.system.runs import records, supervisor_lock

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@pytest.fixture(name="place")
def _place(gpuops):
    with place_of_users(gpuops) as place:
        yield place


@contextlib.contextmanager
def held(path, text, mode=0o644):
    """A lock that a process of another user holds."""
    path.write_text(text)
    path.chmod(mode)
    child = os.fork()
    if child == 0:
        os.setuid(BOB)
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)
        signal.pause()
    with path.open() as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                break
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.002)
    yield
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_lock_that_another_user_holds_stops_nobody(place):
    """It names a supervisor that has ended; and from now on nobody else can open it."""
    root = place.make(0)
    gone = {**reaper.identity(os.getpid()), "start_ticks": 1}
    with held(root / "supervisor.lock", json.dumps(gone)):
        assert supervisor_lock.holder(root) is None
        with supervisor_lock.only_one(root):
            assert supervisor_lock.holder(root).pid == os.getpid()
            assert stat.S_IMODE((root / "supervisor.lock").stat().st_mode) == 0o600


def test_a_lock_that_names_another_process_signals_nobody(place):
    """Only who has the lock open is the supervisor."""
    root = place.make(0)
    victim = place.start(0, "sleep", "600")
    with held(root / "supervisor.lock", json.dumps(reaper.identity(victim.pid))):
        supervisor_lock.retire([root], now=True)

    assert victim.poll() is None


def test_a_lock_in_another_container_is_held(place):
    """A pid of another namespace cannot be looked at."""
    root = place.make(0)
    there = {**reaper.identity(os.getpid()), "pid_namespace": 1}
    with held(root / "supervisor.lock", json.dumps(there)):
        with pytest.raises(supervisor_lock.SupervisedError):
            supervisor_lock.only_one(root).__enter__()
        with pytest.raises(UsageError, match="in another container"):
            records.require_this_host(root)


def test_a_lock_file_of_another_user_is_replaced(place):
    """Put into a folder that was left open to all."""
    root = place.make(0)
    lock = root / "supervisor.lock"
    lock.touch()
    os.chown(lock, BOB, BOB)
    with supervisor_lock.only_one(root):
        assert lock.stat().st_uid == 0


def test_a_lock_that_is_a_link_is_not_followed(place):
    """What it leads to stays as it is."""
    root = place.make(0)
    target = place.folder / "target"
    target.write_text("x")
    (root / "supervisor.lock").symlink_to(target)

    with pytest.raises(GpuopsError, match="cannot be written"), supervisor_lock.only_one(root):
        pass
    assert target.read_text() == "x"
