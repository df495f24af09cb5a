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
    lines: list[str] = []
    for _, gpu in sorted(gpus.items()):
        usual, percent = usual_w.get(gpu.index), gpu.utilization_pct
        if gpu.power_w is None or usual is None:
            continue
        load = "" if percent is None else f"{percent} % at "
        waits = (percent or 0) >= BUSY_PCT and gpu.power_w <= LITTLE * usual
        meaning = ": as in a wait for other ranks" if waits else ""
        lines.append(
            f"{gpu.label}: {load}{gpu.power_w:.0f} W, {usual:.0f} W while it trained{meaning}"
        )
    return tuple(lines)


def _trained(sample: Sample, gpu: GpuSample) -> bool:
    if sample.step is not None:
        return sample.step_s is not None
    return (gpu.utilization_pct or 0) >= AT_WORK_PCT
