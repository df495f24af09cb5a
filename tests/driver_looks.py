"""Looks at the GPUs of the mock driver, and the processes that ask it for us."""

from __future__ import annotations

import time

import psutil

from gpuops.system.gpus import nvml

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]
ONE = ["gpu 0 model=h100"]


def wait_until(true, timeout_s=10.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


def readers():
    """The children of ours, which are those that ask the library."""
    children = psutil.Process().children()
    return [one for one in children if any("nvml_reader" in word for word in one.cmdline())]


def look(driver, lines):
    driver.set(lines)
    return nvml.read()


def states(inventory):
    return [device.state for device in inventory.devices]
