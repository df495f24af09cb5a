"""The power draw of GPUs compared with the draw while their job trained.

Utilization does not reveal a hang: a kernel that waits in an NCCL collective keeps its GPU at
100 %. But it draws little power.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from gpuops.core.machine.device import Device
from gpuops.core.machine.gpu_health import BUSY_PCT
from gpuops.core.run.telemetry import GpuSample, Sample

ENOUGH = 5
AT_WORK_PCT = 50
LITTLE = 0.5  # of the draw while it trained


def usual_watts(samples: Iterable[Sample]) -> dict[int, float]:
    """The median watts of each GPU while the job trained, by its index.

    The job trained if a step was taken; if it reports no steps, a GPU at work is enough.
    """
    drawn: dict[int, list[float]] = {}
    for sample in samples:
        for index, gpu in sample.gpus.items():
            if gpu.power_w is not None and _trained(sample, gpu):
                drawn.setdefault(index, []).append(gpu.power_w)
    return {index: median(watts) for index, watts in drawn.items() if len(watts) >= ENOUGH}


def describe_power(gpus: Mapping[int, Device], usual_w: Mapping[int, float]) -> tuple[str, ...]:
    """``GPU 3: 100 % at 70 W, 290 W while it trained``, a line for each rank's GPU."""
    return tuple(
        f"GPU {gpu.index}: {_format_load(gpu)}{gpu.power_w:.0f} W, "
        f"{usual_w[gpu.index]:.0f} W while it trained{_meaning(gpu, usual_w[gpu.index])}"
        for _, gpu in sorted(gpus.items())
        if gpu.power_w is not None and gpu.index in usual_w
    )


def _trained(sample: Sample, gpu: GpuSample) -> bool:
    if sample.step is not None:
        return sample.step_s is not None
    return (gpu.utilization_pct or 0) >= AT_WORK_PCT


def _format_load(gpu: Device) -> str:
    return "" if gpu.utilization_pct is None else f"{gpu.utilization_pct} % at "


def _meaning(gpu: Device, usual_w: float) -> str:
    spins = (gpu.utilization_pct or 0) >= BUSY_PCT and (gpu.power_w or 0) <= LITTLE * usual_w
    return ": as in a wait for other ranks" if spins else ""
