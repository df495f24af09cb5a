"""Who supervises a run is read from its lock, whatever stands in there."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from gpuops import reaper
from gpuops.errors import GpuopsError
from gpuops.system.processes.identity import Identity
from gpuops.system.runs import supervisor_lock


@pytest.mark.parametrize(
    "text", ["", "[" * 4000, "[" * 200_000, "null", "[1]", '{"pid": 1}', "\0\x80"]
)
def test_a_held_lock_that_names_nobody_names_nobody(tmp_path, text):
    """No traceback; the lock itself still keeps a second supervisor away."""
    with (tmp_path / "supervisor.lock").open("w", encoding="latin-1") as file:
        file.write(text)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)

        assert supervisor_lock.holder(tmp_path) is None
        with pytest.raises(supervisor_lock.SupervisedError):
            supervisor_lock.only_one(tmp_path).__enter__()


def test_a_fifo_is_not_waited_for(tmp_path):
    """Nobody holds what is not a regular file."""
    os.mkfifo(tmp_path / "supervisor.lock")

    assert supervisor_lock.holder(tmp_path) is None


def test_the_holder_is_found(tmp_path):
    """By its identity in this boot."""
    with supervisor_lock.only_one(tmp_path):
        found = supervisor_lock.holder(tmp_path)

    assert found is not None
    assert os.getpid() == found.pid
    assert reaper.identity(os.getpid()) == json.loads((tmp_path / "supervisor.lock").read_text())


def test_on_a_full_disk_a_run_still_has_one_supervisor(tmp_path):
    """The lock holds, though nobody can read whose it is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with supervisor_lock.only_one(tmp_path):
            assert supervisor_lock.holder(tmp_path) is None
            with pytest.raises(supervisor_lock.SupervisedError):
                supervisor_lock.only_one(tmp_path).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_lock_that_cannot_be_written_is_a_sentence(tmp_path):
    """As in the run of another user."""
    (tmp_path / "supervisor.lock").mkdir()

    with pytest.raises(GpuopsError, match="cannot be written"), supervisor_lock.only_one(tmp_path):
        pass


def test_the_supervisor_of_another_user_cannot_be_asked_to_end(tmp_path, monkeypatch):
    """This is a sentence, not a traceback."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with (
        supervisor_lock.only_one(tmp_path),
        pytest.raises(GpuopsError, match="belongs to another user"),
    ):
        supervisor_lock.retire([tmp_path], now=True)


SUPERVISES = """
import pathlib, sys, time
from gpuops.system.runs import supervisor_lock
with supervisor_lock.only_one(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""


@pytest.fixture(name="supervisor")
def _supervisor(tmp_path):
    command = [sys.executable, "-c", SUPERVISES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        yield child
        child.kill()


def test_a_supervisor_that_is_stopped_is_continued_to_end(tmp_path, supervisor):
    """As by Ctrl-Z: it would not learn of the signal."""
    supervisor.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED | os.WNOWAIT)
    assert supervisor.pid == supervisor_lock.stopped(tmp_path)

    supervisor_lock.retire([tmp_path], now=False, within_s=20)

    assert -signal.SIGTERM == supervisor.wait(20)
    assert supervisor_lock.stopped(tmp_path) is None


def test_a_supervisor_that_stays_stopped_is_named(tmp_path, supervisor, monkeypatch):
    """A debugger holds it, say; nobody waits for ever."""
    sent = []
    monkeypatch.setattr(Identity, "send", lambda _self, number: sent.append(number))
    monkeypatch.setattr(supervisor_lock, "STOPPED_S", 0.05)
    supervisor.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED | os.WNOWAIT)

    with pytest.raises(GpuopsError, match=rf"is stopped \(kill -CONT {supervisor.pid}\)"):
        supervisor_lock.retire([tmp_path], now=False)
    assert {signal.SIGTERM, signal.SIGCONT} == set(sent)
