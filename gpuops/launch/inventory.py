"""The GPUs of this machine, or of a simulated one, and the runs that claimed them."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.machine.device import Claim, GpuInventory
from gpuops.system import leases
from gpuops.system.gpus import nvml


def read_gpus(simulate: str | None = None, *, own: str = "") -> GpuInventory:
    """The GPUs of this machine, or of a simulated one, and the runs that hold them.

    What the run in the folder ``own`` holds counts as free.

    Raises:
        UsageError: the simulated machine cannot be read.
    """
    if simulate is None:
        return with_claims(nvml.read(), own=own)
    from gpuops.system.gpus import simulated  # noqa: PLC0415 - it loads models, and is rarely asked for

    return simulated.read(simulate)


def with_claims(inventory: GpuInventory, *, own: str = "") -> GpuInventory:
    """The same GPUs, with the runs that claimed them."""
    claims = others_claims(own) if inventory.devices else {}
    problem = leases.why_not_shared()
    devices = tuple(
        replace(device, claim=claims.get(leases.gpu(device.uuid or "")))
        for device in inventory.devices
    )
    gaps = dict(inventory.gaps) if problem is None else {**inventory.gaps, "claims": problem}
    return replace(inventory, devices=devices, gaps=gaps)


def others_claims(own: str) -> dict[str, Claim]:
    """All claims, except those of the run in the folder ``own``."""
    return {name: one for name, one in leases.holders().items() if one.run_dir != (own or None)}
