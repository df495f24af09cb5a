"""The GPUs of this machine, or of a simulated one: who claimed them, and which are ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from gpuops.core.machine import allotment
from gpuops.core.machine.device import GpuInventory
from gpuops.launch.contention import Contention
from gpuops.system import claims
from gpuops.system.gpus import nvml


def read_gpus(
    simulate: str | None = None,
    contention: Contention | None = None,
    allotted: Mapping[str, str] | None = None,
) -> GpuInventory:
    """The GPUs of this machine, or of a simulated one, the runs that hold them, and which are ours.

    What a launch with a ``contention`` holds itself counts as free. ``allotted``: the variables of
    the scheduler; those of this process by default. They say nothing about a simulated machine.

    Raises:
        UsageError: the simulated machine cannot be read.
    """
    if simulate is None:
        return as_allotted(with_claims(nvml.read(), contention), allotted)
    from gpuops.system.gpus import simulated  # noqa: PLC0415 - it loads models, and is rarely asked for

    return simulated.read(simulate)


def with_claims(inventory: GpuInventory, contention: Contention | None = None) -> GpuInventory:
    """The same GPUs, with the runs that claimed them."""
    others = (contention or Contention()).others_claims() if inventory.devices else {}
    problem = claims.why_not_shared()
    devices = tuple(
        replace(device, claim=others.get(claims.gpu(device.uuid)) if device.uuid else None)
        for device in inventory.devices
    )
    gaps = dict(inventory.gaps) if problem is None else {**inventory.gaps, "claims": problem}
    return replace(inventory, devices=devices, gaps=gaps)


def as_allotted(inventory: GpuInventory, allotted: Mapping[str, str] | None = None) -> GpuInventory:
    """The same GPUs; those that a scheduler gave to others are marked.

    ``allotted``: the scheduler's variables; those of this process by default.
    """
    variables = scheduler_variables() if allotted is None else allotted
    return replace(inventory, devices=allotment.mark_withheld(inventory.devices, variables))


def scheduler_variables() -> dict[str, str]:
    """What a scheduler told this process about its GPUs."""
    return {name: os.environ[name] for name in allotment.VARIABLES if name in os.environ}
