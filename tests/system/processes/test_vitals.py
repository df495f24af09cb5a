"""How processes do and folders grow: with real ones."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gpuops import reaper
from gpuops.system.processes import vitals
from gpuops.system.processes.identity import Identity
from gpuops.system.processes.vitals import FolderSize, size_bytes

WAITS = "print(flush=True); input()"
SPINS = "print(flush=True)\nwhile True: pass"
THREADS = """
import threading, time
for _ in range(20):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(flush=True); input()
"""
READS = """
print(flush=True)
while input() == "read":
    open("/proc/self/environ", "rb").read(); open(__import__("sys").executable, "rb").read()
    print(flush=True)
"""
CALLS = "import os; print(flush=True)\nwhile True: os.urandom(1 << 20)"
ODD_NAME = "open('/proc/self/comm', 'w').write('a) Z 1 (b'); print(flush=True); input()"


def until(true, timeout_s=10.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)
    return found


@pytest.fixture(name="run")
def _run():
    """Starts Python programs that say when they are ready."""
    with contextlib.ExitStack() as started:

        def run(program):
            child = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            started.enter_context(child)
            started.callback(child.kill)
            child.stdout.readline()
            return child

        yield run


def identity(child):
    """Which process it is, for good."""
    return Identity(**reaper.identity(child.pid))


def one(process):
    """What is read of a process."""
    (found,) = vitals.read([(3, process)])
    return found


def test_a_process_that_waits_sleeps(run):
    """Its state, CPU time and traffic; and whose it is."""
    child = run(THREADS)
    found = until(lambda: (seen := one(identity(child))).state == "S" and seen)

    assert (3, child.pid) == (found.rank, found.pid)
    assert 0 <= found.cpu_s < 10
    assert found.io_bytes > 1000


def test_a_process_that_spins_uses_cpu(run):
    """As much of a core as it gets."""
    process = identity(run(SPINS))
    before = one(process)

    assert "R" == until(lambda: (seen := one(process)).cpu_s > before.cpu_s and seen).state


def test_time_in_the_kernel_counts_too(run):
    """Of a process that does little else."""
    process = identity(run(CALLS))

    assert until(lambda: one(process).cpu_s > 0.3, timeout_s=5)


def test_traffic_grows_as_it_reads(run):
    """By at least as many bytes."""
    child = run(READS)
    process = identity(child)
    before = one(process)
    child.stdin.write("read\n")
    child.stdin.flush()
    child.stdout.readline()

    grown = one(process).io_bytes - before.io_bytes
    assert grown >= Path(sys.executable).stat().st_size
    child.communicate("end\n")


def test_a_stopped_process_is_in_state_t(run):
    """And is itself again afterwards."""
    process = identity(run(WAITS))
    process.send(signal.SIGSTOP)
    until(lambda: one(process).state == "T")

    process.send(signal.SIGCONT)
    until(lambda: one(process).state == "S")


def test_a_process_that_has_ended_is_gone(run):
    """First nobody has waited for it; then there is nothing left of it."""
    child = run(WAITS)
    process = identity(child)
    process.send(signal.SIGKILL)
    until(lambda: one(process).state == "Z")

    child.wait()
    found = one(process)
    assert ("X", None, None) == (
        found.state,
        found.cpu_s,
        found.io_bytes,
    )


def test_another_process_of_the_same_pid_is_not_meant(run):
    """A pid is given again; a pid with its start time is not."""
    child = run(WAITS)

    assert "X" == one(Identity(child.pid, identity(child).start_ticks - 1)).state


def test_a_name_can_be_anything(run):
    """With brackets and blanks, like the fields that follow it."""
    process = identity(run(ODD_NAME))
    found = until(lambda: (seen := one(process)).state == "S" and seen)

    assert 0 <= found.cpu_s < 10


def test_ranks_are_read_in_order(run):
    """One result for each, whatever became of it."""
    process = identity(run(WAITS))
    gone = Identity(process.pid, 0)

    until(lambda: one(process).state == "S")
    found = vitals.read([(0, gone), (5, process)])

    assert [(0, "X"), (5, "S")] == [(seen.rank, seen.state) for seen in found]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_is_hidden_is_unknown(run):
    """Another user's traffic; its state is for all to see."""
    process = identity(run(WAITS))
    os.seteuid(65534)
    try:
        found = one(process)
    finally:
        os.seteuid(0)

    assert found.state in {"R", "S"}
    assert found.cpu_s is not None
    assert found.io_bytes is None


def test_reading_is_cheap(run):
    """8 ranks twice a second: less than 0.3 % of a core."""
    ranks = [(rank, identity(run(THREADS))) for rank in range(8)]
    begin = time.process_time()
    for _ in range(100):
        vitals.read(ranks)

    assert (time.process_time() - begin) / 100 * 2 < 0.003


# ------------------------------------------------------------------------------ folders


def test_a_folder_holds_what_lies_in_it(tmp_path):
    """Below it too; links are not followed, or they would count twice."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "a" / "b" / "two").write_bytes(b"123")
    (tmp_path / "again").symlink_to(tmp_path / "a")

    link = (tmp_path / "again").lstat().st_size
    assert 8 + link == size_bytes(tmp_path)
    assert 3 == size_bytes(tmp_path / "again")


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path):
    """A job has not saved anything: that is known, and it is 0."""
    assert 0 == size_bytes(tmp_path / "checkpoints")


def test_a_folder_that_cannot_be_read_is_unknown(tmp_path):
    """A file in its place, say."""
    (tmp_path / "checkpoints").write_text("no folder")

    assert size_bytes(tmp_path / "checkpoints") is None


def test_a_folder_is_measured_again_and_again(tmp_path):
    """As it grows, and as it shrinks."""
    with FolderSize(tmp_path, every_s=0.005) as size:
        until(lambda: size.bytes == 0)
        (tmp_path / "new").write_bytes(b"1234567")
        until(lambda: size.bytes == 7)
        (tmp_path / "new").unlink()
        until(lambda: size.bytes == 0)


def test_measuring_ends_with_its_user(tmp_path):
    """No thread is left behind."""
    with FolderSize(tmp_path, every_s=0.005) as size:
        until(lambda: size.bytes == 0)

    until(lambda: all(str(tmp_path) not in thread.name for thread in threading.enumerate()))


class Stalls:
    """A folder on a file system that answers once, and then hangs."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = 0
        self.answers = threading.Event()

    def __str__(self):
        self.asked += 1
        if self.asked > 2:  # the first gives the thread its name
            self.answers.wait()
        return str(self.folder)


def test_a_file_system_that_hangs_makes_its_size_unknown(tmp_path, monkeypatch):
    """Whoever asks goes on; the last size is not taken for the present one."""
    monkeypatch.setattr(vitals, "OVERDUE_S", 0.05)
    folder = Stalls(tmp_path)
    with FolderSize(folder, every_s=0.005) as size:
        until(lambda: size.bytes == 0)
        until(lambda: folder.asked == 3)
        until(lambda: size.bytes is None)
        folder.answers.set()
        until(lambda: size.bytes == 0)


class Slow:
    """A folder that takes a while to be found."""

    def __init__(self, folder):
        self.folder = folder

    def __str__(self):
        time.sleep(0.02)
        return str(self.folder)


def test_measuring_takes_a_thousandth_of_the_time(tmp_path):
    """The longer it takes, the longer it is good for: 20 ms make 20 s."""
    with FolderSize(Slow(tmp_path), every_s=0.005) as size:
        until(lambda: size.bytes == 0)

        assert size._good_until_s - time.monotonic() > 20 + vitals.OVERDUE_S - 5
