"""The mock as the driver of this machine, and readers of its GPUs."""

from __future__ import annotations

import pytest
from driver_looks import readers, wait_until

from gpuops.system.gpus import nvml


@pytest.fixture(name="driver")
def _driver(mock_driver, monkeypatch):
    """The mock as the driver of this machine; nothing that asked it is left over."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(mock_driver.lib))
    monkeypatch.setenv("MOCK_NVML_STATE", str(mock_driver.state))
    yield mock_driver
    mock_driver.set([])  # what is stuck wakes
    wait_until(lambda: not readers())


@pytest.fixture(name="log")
def _log(tmp_path):
    """A kernel's log that says nothing."""
    path = tmp_path / "kmsg"
    path.touch()
    return path


@pytest.fixture(name="reader")
def _reader(driver, log):
    """A reader of the mock's GPUs, closed at the end."""
    assert driver
    with nvml.Reader(kernel_log=log) as reader:
        yield reader


@pytest.fixture(name="hasty")
def _hasty(driver, log):
    """A reader that does not give a driver much time to start."""
    assert driver
    with nvml.Reader(kernel_log=log, start_timeout_s=0.6) as reader:
        yield reader
