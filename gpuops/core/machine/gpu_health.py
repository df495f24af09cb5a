"""Problems of a GPU that can still be used, in words."""

from __future__ import annotations

from gpuops.core.machine.device import Device

# An idle GPU may run its link slowly; one with at least this utilization should not.
AT_WORK_PCT = 10
# A GPU that waits in a collective looks this busy too, but draws little power.
BUSY_PCT = 90


def gpu_problems(device: Device, hot_c: int = 85) -> list[tuple[int, str]]:
    """The problems of a GPU that can still be used: each with its weight, and in words."""
    memory, heat = device.memory, device.temperature_c or 0
    found = [
        (3, "its memory is broken beyond repair", memory.remap_failed),
        (2, "its memory has uncorrected errors", memory.ecc_uncorrected),
        (2, "it needs a reset to repair its memory", memory.awaits_reset),
        (1, f"it is {heat} °C hot", heat >= hot_c),
        (1, f"it is slowed by {', '.join(device.slowed_by or ())}", device.slowed_by),
        (1, "its processes cannot be listed", device.busy is None),
    ]
    return [(weight, words) for weight, words, given in found if given]


def narrowed(gpu: Device) -> str:
    """How its link to the host is slower than it could be; empty if it is not."""
    link, at_work = gpu.pcie, (gpu.utilization_pct or 0) >= AT_WORK_PCT
    if _is_below(link.width, link.width_max):
        return f"{link.width} of {link.width_max} PCIe lanes"
    if at_work and _is_below(link.generation, link.generation_max):
        return f"PCIe {link.generation} instead of {link.generation_max} at work"
    return ""


def _is_below(now: int | None, most: int | None) -> bool:
    return now is not None and most is not None and now < most


def why_slow(gpu: Device) -> tuple[str, ...]:
    """Why it is slower than it could be, or may soon be: a few words for each reason."""
    memory, down = gpu.memory, ", ".join(map(str, gpu.nvlinks_down or ()))
    found = [
        *(gpu.slowed_by or ()),
        narrowed(gpu),
        "remap failed" if memory.remap_failed else "",
        "remap pending" if memory.awaits_reset else "",
        f"NVLink {down} down" if down and gpu.nvlinks_up else "",
    ]
    return tuple(filter(None, found))
