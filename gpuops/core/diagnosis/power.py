"""What GPUs draw, against what they drew while their job trained: words for a person to judge by.

Utilization tells nothing of a hang, for a kernel that waits in an NCCL collective keeps a GPU at
100 %. It draws little, though.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from gpuops.core.machine.device import Device
from gpuops.core.run.telemetry import GpuSample, Sample

ENOUGH = 5
AT_WORK_PCT, BUSY_PCT = 50, 90
LITTLE = 0.5  # of what it drew while it trained


def usual(samples: Iterable[Sample]) -> dict[int, float]:
    """The watts that each GPU drew while the job trained, in the middle, by its index.

    It trained where a step was taken; where it says no steps, a GPU at work has to do.
    """
    drawn: dict[int, list[float]] = {}
    for sample in samples:
        for index, gpu in sample.gpus.items():
            if gpu.power_w is not None and _trained(sample, gpu):
                drawn.setdefault(index, []).append(gpu.power_w)
    return {index: median(watts) for index, watts in drawn.items() if len(watts) >= ENOUGH}


def told(gpus: Mapping[int, Device], usual_w: Mapping[int, float]) -> tuple[str, ...]:
    """``GPU 3: 100 % at 70 W, 290 W while it trained``, of each rank's GPU."""
    return tuple(
        f"GPU {gpu.index}: {_busy(gpu)}{gpu.power_w:.0f} W, "
        f"{usual_w[gpu.index]:.0f} W while it trained{_meaning(gpu, usual_w[gpu.index])}"
        for _, gpu in sorted(gpus.items())
        if gpu.power_w is not None and gpu.index in usual_w
    )


def _trained(sample: Sample, gpu: GpuSample) -> bool:
    if sample.step is not None:
        return sample.step_s is not None
    return (gpu.utilization_pct or 0) >= AT_WORK_PCT


def _busy(gpu: Device) -> str:
    return "" if gpu.utilization_pct is None else f"{gpu.utilization_pct} % at "


def _meaning(gpu: Device, usual_w: float) -> str:
    spins = (gpu.utilization_pct or 0) >= BUSY_PCT and (gpu.power_w or 0) <= LITTLE * usual_w
    return ": as in a wait for other ranks" if spins else ""
