"""The GPUs of this machine, or of a simulated one, and the runs that claimed them."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.machine.device import GpuInventory
from gpuops.launch.standing import Standing
from gpuops.system import leases
from gpuops.system.gpus import nvml


def read_gpus(simulate: str | None = None, standing: Standing | None = None) -> GpuInventory:
    """The GPUs of this machine, or of a simulated one, and the runs that hold them.

    What a launch with a ``standing`` holds itself counts as free.

    Raises:
        UsageError: the simulated machine cannot be read.
    """
    if simulate is None:
        return with_claims(nvml.read(), standing)
    from gpuops.system.gpus import simulated  # noqa: PLC0415 - it loads models, and is rarely asked for

    return simulated.read(simulate)


def with_claims(inventory: GpuInventory, standing: Standing | None = None) -> GpuInventory:
    """The same GPUs, with the runs that claimed them."""
    claims = (standing or Standing()).others_claims() if inventory.devices else {}
    problem = leases.why_not_shared()
    devices = tuple(
        replace(device, claim=claims.get(leases.gpu(device.uuid)) if device.uuid else None)
        for device in inventory.devices
    )
    gaps = dict(inventory.gaps) if problem is None else {**inventory.gaps, "claims": problem}
    return replace(inventory, devices=devices, gaps=gaps)
