"""The child that asks the driver: replaced when it dies, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from driver_looks import EIGHT, ONE, look, readers, wait_until

from gpuops.system.gpus import nvml


def open_files():
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def test_a_child_killed_between_two_looks_is_replaced(driver, reader):
    """Whoever killed it, the next look is a look."""
    driver.set(EIGHT)
    before = reader.read()
    readers()[0].kill()

    assert reader.read() == before
    assert len(readers()) == 1


def test_many_looks_leave_nothing(driver, log):
    """No file, no process, no zombie."""
    driver.set(EIGHT)
    look(driver, EIGHT)  # what is opened once
    before = open_files()
    for _ in range(10):
        with nvml.Reader(kernel_log=log) as reader:
            for _ in range(3):
                reader.read()

    assert before == open_files()
    assert [] == readers()


def test_the_child_holds_nothing_of_ours(driver, reader):
    """A stuck one must not keep the pipe open into which we write."""
    driver.set(ONE)
    reader.read()
    child = readers()[0]
    ours = {Path(f"/proc/self/fd/{number}").readlink() for number in (0, 1, 2)}
    its = {path.readlink() for path in Path(f"/proc/{child.pid}/fd").iterdir()}

    assert set() == (ours & its) - {Path("/dev/null")}
    assert child.cwd() == "/"
    assert os.getsid(child.pid) != os.getsid(0)


def test_the_child_ends_with_its_parent(driver):
    """However that ends, and although the driver is stuck from the start."""
    driver.set([*ONE, "hang * nvmlInit* 60"])
    code = (
        "import time; from gpuops.system.gpus import nvml; "
        "reader = nvml.Reader(start_timeout_s=0.1); "
        "reader.read(0.1); print(reader._child._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
