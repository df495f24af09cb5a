"""GPUs that are lost or stuck, and drivers that are missing, slow or broken."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from driver_looks import EIGHT, ONE, look, readers, states, wait_until

from gpuops.system.gpus import nvml


@pytest.mark.parametrize("how", ["lost 3", "lost 3 handle=ok"])
def test_a_lost_gpu_keeps_its_row(driver, how):
    """The others keep their numbers, and are read."""
    inventory = look(driver, [*EIGHT, how])

    assert ["ok", "ok", "ok", "lost", "ok", "ok", "ok", "ok"] == states(inventory)
    assert "fallen off the bus" in inventory.devices[3].fault
    assert inventory.devices[3].temperature_c is None
    assert all(device.uuid for device in inventory.devices if device.state == "ok")


def test_a_gpu_lost_under_way_keeps_its_name(driver, reader):
    """What was read of it before tells which one to pull; when it is back, it is read again."""
    driver.set(EIGHT)
    before = reader.read().devices[3]
    driver.set([*EIGHT, "lost 3"])
    lost = reader.read().devices[3]
    driver.set(EIGHT)

    assert (lost.state, lost.uuid, lost.name) == ("lost", before.uuid, before.name)
    assert lost.memory_used_bytes is None
    assert reader.read().devices[3] == before


def test_a_stuck_gpu_is_told_and_recovers(driver, hasty):
    """The driver never returns for GPU 5, in state D; the others answer, and later it does too."""
    driver.set([*EIGHT, "hang 5 * 60 D"])
    others = ["ok"] * 5 + ["stuck"] + ["ok"] * 2
    wait_until(lambda: states(hasty.read(0.2)) == others)
    threads = [*Path(f"/proc/{readers()[0].pid}/task").iterdir()]

    assert re.search(r"has not answered for \d+ s", hasty.read(0.2).devices[5].fault)
    wait_until(lambda: any(") D " in (thread / "stat").read_text() for thread in threads))
    driver.set(EIGHT)
    wait_until(lambda: states(hasty.read(0.2)) == ["ok"] * 8)


def test_a_gpu_that_gets_stuck_keeps_its_name(driver, reader):
    """It was read before; and it is waited for once, not at every look."""
    driver.set(EIGHT)
    before = reader.read().devices[5]
    driver.set([*EIGHT, "hang 5 *Temperature* 60 D"])
    first = reader.read(0.3)
    begin = time.monotonic()
    second = reader.read(0.3)

    assert time.monotonic() - begin < 0.3
    assert "stuck" == first.devices[5].state == second.devices[5].state
    assert first.devices[5].uuid == before.uuid
    assert first.devices[5].temperature_c is None


def test_a_driver_that_does_not_start_is_a_gap(driver, hasty):
    """Neither the look nor the end waits for it."""
    driver.set([*EIGHT, "hang * nvmlInit* 60 D"])
    inventory = hasty.read(0.2)
    begin = time.monotonic()
    again = hasty.read(0.2)
    hasty.close()

    assert re.search(r"the driver has not answered for \d+ s", inventory.gaps["gpus"])
    assert inventory.devices == again.devices == ()
    assert time.monotonic() - begin < 1.5


def test_gpus_that_wake_slowly_are_waited_for(driver, log):
    """Without persistence mode each takes its time, more than a reading may."""
    driver.set(["gpu 0-3 model=h100", "latency * nvmlDeviceGetHandleByIndex* 250000"])
    with nvml.Reader(kernel_log=log) as reader:
        assert ["ok"] * 4 == states(reader.read(0.15))


def test_a_driver_that_starts_late_is_read_then(driver, hasty):
    """The same reader, and the same child."""
    driver.set([*ONE, "hang * nvmlInit* 60"])
    assert "gpus" in hasty.read(0.1).gaps
    driver.set(ONE)

    wait_until(lambda: states(hasty.read(0.1)) == ["ok"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("DRIVER_NOT_LOADED", "the NVIDIA driver is not loaded"),
        ("LIBRARY_NOT_FOUND", "no NVIDIA driver is installed"),
        ("LIB_RM_VERSION_MISMATCH", "the driver was updated"),
        ("NO_PERMISSION", "this user may not open the driver's files"),
        ("UNKNOWN", "does not start (Unknown Error)"),
    ],
)
def test_why_there_is_no_driver_is_told(driver, error, words):
    """Each cause in its own sentence part, which can be gone on from."""
    inventory = look(driver, [f"init {error}"])

    assert words in inventory.gaps["gpus"]
    assert not inventory.gaps["gpus"].endswith(".")
    assert inventory.devices == ()


def test_a_library_that_is_none_is_as_good_as_missing(driver, tmp_path, monkeypatch):
    """What cannot be loaded is not there."""
    assert driver
    (tmp_path / "libnvidia-ml.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    assert "no NVIDIA driver is installed" in nvml.read().gaps["gpus"]


def test_a_library_that_crashes_is_a_gap(driver, tmp_path, monkeypatch):
    """It takes the child down, not us."""
    assert driver
    (tmp_path / "crash.c").write_text(
        "#include <stdlib.h>\nint nvmlInitWithFlags(unsigned flags) { (void)flags; abort(); }\n"
    )
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-o", library, tmp_path / "crash.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    assert nvml.read().gaps["gpus"].endswith("ended with signal 6 (Aborted)")


def test_a_gpu_that_may_not_be_opened_is_unreadable(driver):
    """And so is one of which the driver says nothing that makes sense."""
    inventory = look(
        driver,
        [
            *EIGHT,
            "fault 1 nvmlDeviceGetHandleByIndex* NO_PERMISSION",
            "fault 2 nvmlDeviceGetHandleByIndex* UNKNOWN",
            "fault 4 nvmlDeviceGetMemoryInfo* UNKNOWN",
            "fault 6 nvmlDeviceGetTemperature RESET_REQUIRED",
            "fault 7 nvmlDeviceGetUtilizationRates UNKNOWN",
        ],
    )

    bad = {device.index: device.fault for device in inventory.devices if device.fault is not None}
    assert [1, 2, 4, 6] == list(bad)
    assert ["no permission", *3 * ["unreadable"]] == [
        inventory.devices[index].state for index in bad
    ]
    assert "may not open it" in bad[1]
    assert "Unknown Error" in bad[2]
    assert "Unknown Error" in bad[4]
    assert "--gpu-reset -i 6" in bad[6]
    assert (inventory.devices[7].state, inventory.devices[7].utilization_pct) == ("ok", None)


def test_a_log_that_may_not_be_read_is_a_gap(driver, tmp_path):
    """The Xids are then unknown, and not none."""
    driver.set(ONE)
    with nvml.Reader(kernel_log=tmp_path / "nothing") as reader:
        inventory = reader.read()

    assert inventory.devices[0].xids is None
    assert "kernel's log" in inventory.gaps["xids"]
