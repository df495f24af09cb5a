"""gpuops with two simulated GPUs, as a module to run: ``python -m gpuops.drill.simulated_gpus``.

For the faults that are about claims: a laptop has no GPU to claim, and those of a shared host are
not there for a drill. The job itself trains on the CPU.
"""

from __future__ import annotations

import os
import runpy
from dataclasses import replace

from gpuops.core.drill import RANKS
from gpuops.core.machine import allotment
from gpuops.core.machine.device import GpuInventory
from gpuops.system.gpus import nvml, simulated


class Reader(nvml.Reader):
    """In place of the reader of NVML."""

    def read(self, timeout_s: float = 0.0) -> GpuInventory:  # noqa: ARG002 - nothing is slow here
        """Two idle GPUs, as if they were there."""
        return replace(simulated.read(f"{RANKS}x4090"), simulated=None)


if __name__ == "__main__":
    for name in allotment.VARIABLES:  # they name GPUs of the host
        os.environ.pop(name, None)
    vars(nvml)["Reader"] = Reader
    runpy.run_module("gpuops", run_name="__main__", alter_sys=True)
