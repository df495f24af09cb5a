"""The GPUs of a host on the screen: their holders, and the queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from gpuops.core.launch.choice import why_not_free
from gpuops.core.launch.queue import Ticket, awaited, served
from gpuops.core.machine.device import Device, GpuInventory
from gpuops.core.machine.gpu_health import gpu_problems
from gpuops.text import GIB
from gpuops.ui import words
from gpuops.ui.runs import columns

UUID_SHOWN = 12


def gpus(inventory: GpuInventory, line: Sequence[Ticket], now_s: float) -> RenderableType:
    """One row per GPU, and below them the queue of waiting launches."""
    table = columns("GPU", "model", "memory", "use", "temp", "UUID", "holder")
    kept = awaited(served(line, [device.uuid for device in inventory.devices]))
    for device in inventory.devices:
        table.add_row(
            Text(str(device.index), style="bold"),
            words.short_model(device.name),
            _memory(device),
            "—" if device.utilization_pct is None else f"{device.utilization_pct} %",
            "—" if device.temperature_c is None else f"{device.temperature_c} °C",
            (device.uuid or "—")[:UUID_SHOWN],
            _holder(device, kept, now_s),
        )
    if not line:
        return table
    waiting = columns("waiting", "for", "since")
    for place, ticket in enumerate(line, 1):
        claim = ticket.claim
        waiting.add_row(
            f"{place}. {claim.run_id or 'a launch'}{f' of {claim.user}' if claim.user else ''}",
            f"{ticket.count} of {_indices(ticket, inventory)}",
            words.ago(claim.since_s, now_s),
        )
    return Group(table, "", waiting)


def _memory(device: Device) -> str:
    if device.memory_total_bytes is None:
        return "—"
    used = "—" if device.memory_used_bytes is None else f"{device.memory_used_bytes / GIB:.1f}"
    return f"{used} / {device.memory_total_bytes / GIB:.0f} GiB"


def _holder(device: Device, kept: Collection[str], now_s: float) -> Text:
    if device.fault is not None:
        return Text(f"{device.state}: {device.fault}", style="red")
    taken = why_not_free(device, kept)
    if taken is None:
        unseen = [device.processes_gap] if device.processes is None and device.processes_gap else []
        against = unseen or [words for _, words in gpu_problems(device)]
        return Text(f"free, but {against[0]}", "yellow") if against else Text("free", style="green")
    return Text(f"{taken.removeprefix('is ')}{_since(device, now_s)}", style="yellow")


def _since(device: Device, now_s: float) -> str:
    starts = [p.started_at_s for p in device.computing if p.started_at_s is not None]
    since = device.claim.since_s if device.claim else min(starts, default=None)
    return "" if since is None else f", for {words.duration(max(0.0, now_s - since))}"


def _indices(ticket: Ticket, inventory: GpuInventory) -> str:
    named = [str(device.index) for device in inventory.devices if device.uuid in ticket.uuids]
    return f"GPU {', '.join(named)}" if named else "GPUs that are not here"
