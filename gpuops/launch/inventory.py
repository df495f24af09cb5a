"""One look at the cards of this machine, or of a simulated one, and who claimed them."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.machine.device import Box, Claim
from gpuops.system import leases
from gpuops.system.gpus import nvml


def look(simulate: str | None = None, *, own: str = "") -> Box:
    """The cards of this machine, or of a simulated one, and who holds them.

    What the run in the folder ``own`` holds is not held against it.

    Raises:
        UsageError: the simulated machine cannot be read.
    """
    if simulate is None:
        return with_claims(nvml.read(), own=own)
    from gpuops.system.gpus import simulated  # noqa: PLC0415 - models of its own, and rarely asked for

    return simulated.read(simulate)


def with_claims(box: Box, *, own: str = "") -> Box:
    """The same cards, with who claimed them through gpuops."""
    claims = others_claims(own) if box.devices else {}
    problem = leases.why_not_shared()
    devices = tuple(
        replace(device, claim=claims.get(leases.gpu(device.uuid or ""))) for device in box.devices
    )
    gaps = dict(box.gaps) if problem is None else {**box.gaps, "claims": problem}
    return replace(box, devices=devices, gaps=gaps)


def others_claims(own: str) -> dict[str, Claim]:
    """Everybody's claims but those of the run in the folder ``own``."""
    return {name: one for name, one in leases.holders().items() if one.run_dir != (own or None)}
