"""gpuops with two simulated GPUs, as a module to run: ``python -m gpuops.drill.simulated_gpus``.

For the faults that are about claims: a laptop has no GPU to claim, and those of a shared host are
not there for a drill. The job itself trains on the CPU.
"""

from __future__ import annotations

import os
import runpy
from contextlib import AbstractContextManager
from dataclasses import replace

from gpuops.core.drill import RANKS
from gpuops.core.machine.device import GpuInventory
from gpuops.system.gpus import nvml, simulated

GIVEN = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")  # they name the host's GPUs


class Reader(AbstractContextManager["Reader"]):
    """In place of the reader of NVML."""

    def __init__(self, **_limits: float) -> None:
        """Any limits do: nothing here can be slow."""

    def __exit__(self, *_exc: object) -> None:
        """There is nothing to close."""

    def read(self, _timeout_s: float = 0.0) -> GpuInventory:
        """Two idle GPUs, as if they were there."""
        return replace(simulated.read(f"{RANKS}x4090"), simulated=None)


if __name__ == "__main__":
    for name in GIVEN:
        os.environ.pop(name, None)
    vars(nvml).update(Reader=Reader, read=Reader().read)
    runpy.run_module("gpuops", run_name="__main__", alter_sys=True)
