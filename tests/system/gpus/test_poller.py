"""The GPUs of a job, looked at by a thread: on a mock of the driver."""

from __future__ import annotations

import threading
import time

import psutil
import pytest

from gpuops.system.gpus.poller import GpuPoller


def until(true, timeout_s=10.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)
    return found


@pytest.fixture(name="driver")
def _driver(mock_driver, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(mock_driver.lib))
    monkeypatch.setenv("MOCK_NVML_STATE", str(mock_driver.state))
    yield mock_driver
    mock_driver.set([])


def test_the_newest_reading_is_there_without_waiting(driver):
    """Of the job's own GPUs alone; it changes when they do, and what asked them ends."""
    before = psutil.Process().children()
    driver.set(["gpu 0-3 model=rtx4090 power=400"])
    with GpuPoller((1, 3), every_s=0.1) as gpus:
        found = until(lambda: gpus.newest)
        assert [1, 3] == [gpu.index for gpu in found]
        assert 400 == round(found[0].power_w)
        driver.set(["gpu 0-3 model=rtx4090 power=90"])
        until(lambda: 90 == round(gpus.newest[0].power_w))

    until(lambda: psutil.Process().children() == before)
    assert all(thread.name != "the job's GPUs" for thread in threading.enumerate())


def test_without_a_driver_there_is_no_reading(driver):
    """It is looked for again, and nothing is said of GPUs that cannot be read."""
    driver.set(["init DRIVER_NOT_LOADED"])
    with GpuPoller((0,), every_s=0.1) as gpus:
        until(lambda: gpus._good_until_s)
        assert () == gpus.newest


def test_a_job_without_gpus_starts_nothing():
    """No thread, no process."""
    before = threading.active_count()
    with GpuPoller(()) as gpus:
        assert () == gpus.newest
        assert before == threading.active_count()
