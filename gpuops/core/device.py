"""GPUs as values. ``None`` means that a reading was not available; it is never zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory on a GPU."""

    pid: int
    user: str | None
    command: str | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One physical card, in PCI bus order as nvidia-smi shows it.

    ``fault`` says in words why the card cannot be used; its other readings may then be ``None``.
    """

    index: int
    uuid: str | None = None
    name: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_pct: int | None = None
    temperature_c: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    fault: str | None = None

    @property
    def busy(self) -> bool | None:
        """Whether somebody computes on it; ``None`` where that could not be read."""
        if self.processes is None:
            return None
        return bool(self.processes)


def select(devices: tuple[Device, ...], selector: str) -> tuple[Device, ...]:
    """The devices that an index or a UUID (or the beginning of one) names."""
    if not selector:
        return ()
    if selector.isascii() and selector.isdecimal():
        return tuple(device for device in devices if device.index == int(selector))
    return tuple(
        device
        for device in devices
        if device.uuid is not None and device.uuid.lower().startswith(selector.lower())
    )
