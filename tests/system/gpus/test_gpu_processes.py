"""Who a process on a GPU is, and what is said where that cannot be seen."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gpuops.system.gpus import gpu_processes

WAITING = "print(flush=True); input()"
GONE = 4_194_305  # above every pid that Linux gives


def identify(pid, *, contained=False):
    return gpu_processes.identify(pid, kind="compute", memory_bytes=1, contained=contained)


@pytest.fixture(name="run")
def _run():
    """Starts processes that wait to be told to end."""
    with contextlib.ExitStack() as started:

        def run(*words, code=WAITING):
            command = [sys.executable, "-c", code, *map(str, words)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            child = started.enter_context(subprocess.Popen(command, **pipes))
            child.stdout.readline()
            return child

        yield run


def test_a_process_is_known_by_user_command_and_start(run):
    """The interpreter's folder says nothing."""
    found = identify(run("--lr", "3e-4").pid)

    assert found.whose == "known"
    assert found.user == pwd.getpwuid(os.getuid()).pw_name
    assert found.command == f"{Path(sys.executable).name} -c {WAITING} --lr 3e-4"
    assert found.started_at_s == pytest.approx(time.time(), abs=30)
    assert (found.memory_bytes, found.kind) == (1, "compute")


def test_a_long_command_is_cut(run):
    """Its beginning is what it is recognised by."""
    command = identify(run("--name", "x" * 200).pid).command

    assert len(command) == 60
    assert command.endswith("xxx…")


def test_a_command_cannot_play_with_the_terminal(run):
    """Somebody else chose it: no escapes, no second line."""
    command = identify(run("\x1b[2J\n\u202eok").pid).command

    assert command.endswith("?[2J ?ok")


def test_the_name_of_one_that_has_ended_cannot_either():
    """A name is chosen by its process, as a command line is."""
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\x1b[2Jevil', 0, 0, 0)"
    with subprocess.Popen([sys.executable, "-c", rename]) as child:
        wait_for_zombie(child.pid)

        assert identify(child.pid).command == "?[2Jevil"


def test_one_that_nobody_waits_for_has_gone(run):
    """A zombie: it is named still."""
    child = run()
    child.stdin.close()
    wait_for_zombie(child.pid)
    found = identify(child.pid)

    assert found.whose == "gone"
    assert found.user is not None
    assert found.command.startswith("python")


def wait_for_zombie(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize(
    ("pid", "contained", "whose"),
    [(GONE, False, "gone"), (GONE, True, "elsewhere"), (0, False, "elsewhere")],
)
def test_one_that_is_not_here(pid, contained, whose):
    """On the machine it has ended; from inside a container it may be anywhere."""
    found = identify(pid, contained=contained)

    assert (found.whose, found.user, found.command) == (whose, None, None)


@pytest.mark.parametrize(("contained", "whose"), [(False, "hidden"), (True, "elsewhere")])
def test_one_that_proc_hides_is_hidden(monkeypatch, tmp_path, contained, whose):
    """The kernel knows it, and /proc (mounted with hidepid) does not show it.

    In a container it may be another process that has the pid here.
    """
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    found = identify(os.getpid(), contained=contained)

    assert (found.whose, found.user) == (whose, None)


def test_in_a_container_a_pid_is_believed_with_proof_only(run, monkeypatch, tmp_path):
    """A process with that pid may be another one: it must have the driver open, or CUDA mapped."""
    device, library = tmp_path / "nvidia0", tmp_path / "libcuda.so.1"
    device.touch()
    library.write_bytes(bytes(4096))
    mapping = (
        "import mmap, sys; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, prot=1); f.close(); "
    )
    opening = "import sys; f = open(sys.argv[1]); "
    monkeypatch.setattr(gpu_processes, "DEVICES", (str(device),))
    whose = {
        name: identify(run(path, code=code + WAITING).pid, contained=True).whose
        for name, path, code in (
            ("stranger", library, ""), ("opens", device, opening), ("maps", library, mapping)
        )
    }  # fmt: skip

    assert {"stranger": "elsewhere", "opens": "known", "maps": "known"} == whose


def test_whether_we_are_in_a_container_can_be_asked():
    """By the PID namespace, which has a fixed number on the machine itself."""
    ours = Path("/proc/self/ns/pid").stat().st_ino

    assert gpu_processes.in_container() is (ours != 0xEFFFFFFC)
