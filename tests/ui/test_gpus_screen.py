"""The GPUs on the screen: only what a launch would take is called free."""

from __future__ import annotations

import io

from rich.console import Console

from gpuops.core.launch.queue import Ticket
from gpuops.core.machine.device import Claim, Device, GpuInventory
from gpuops.ui import gpus

NOW_S = 1_800_000_000.0


def rows(*devices, line=()):
    """As a wide terminal shows them, without the head."""
    console = Console(file=io.StringIO(), width=200, markup=False, emoji=False)
    console.print(gpus.gpus(GpuInventory(devices=devices), line, NOW_S))
    return console.file.getvalue().splitlines()[1:]


def gpu(index, **changes):
    return Device(index=index, uuid=f"GPU-{index}", name="H200", processes=(), **changes)


def test_what_no_launch_takes_is_not_called_free():
    """A GPU in parts, and one that somebody waits for."""
    ticket = Ticket(number=1, uuids=("GPU-2",), count=1, claim=Claim(run_id="rvq-1", user="mei"))
    free, parted, kept, *_ = rows(gpu(0), gpu(1, mig=True), gpu(2), line=[ticket])

    assert free.rstrip().endswith("free")
    assert "in MIG mode" in parted
    assert "goes to a launch that waits for it" in kept
