"""The GPUs of this machine, through NVIDIA's library. What cannot be read is ``None``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psutil
import pynvml

from gpuops.core.device import Device, GpuProcess
from gpuops.errors import MachineError

T = TypeVar("T")


def devices() -> tuple[Device, ...]:
    """Every card, in PCI bus order; one that does not answer is there with its fault.

    Raises:
        MachineError: there is no NVIDIA driver, or it does not answer.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MachineError(
            f"no NVIDIA driver answers ({_text(error)}).",
            "`--profile cpu` runs without a GPU.",
        ) from error
    try:
        return tuple(_device(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        raise MachineError(f"the NVIDIA driver does not list its GPUs ({_text(error)}).") from error
    finally:
        pynvml.nvmlShutdown()


def _device(index: int) -> Device:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError as error:
        return Device(index=index, fault=_text(error))
    fault = None
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError_NotSupported:  # memory shared with the host: no fault
        memory = None
    except pynvml.NVMLError as error:
        memory, fault = None, f"{_text(error)} (fallen off the bus?)"
    utilization = _read(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    running = _read(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return Device(
        index=index,
        uuid=_read(lambda: str(pynvml.nvmlDeviceGetUUID(handle))),
        name=_read(lambda: str(pynvml.nvmlDeviceGetName(handle))),
        memory_total_bytes=int(memory.total) if memory else None,
        memory_used_bytes=int(memory.used) if memory else None,
        utilization_pct=int(utilization.gpu) if utilization else None,
        temperature_c=_read(
            lambda: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        ),
        processes=None if running is None else tuple(_process(entry) for entry in running),
        fault=fault,
    )


def _process(entry: pynvml.c_nvmlProcessInfo_t) -> GpuProcess:
    user = command = None
    try:
        process = psutil.Process(entry.pid)
        user, command = process.username(), process.name()
    except psutil.Error:
        pass  # gone, another namespace, or not ours to see: unknown, and shown so
    used = entry.usedGpuMemory
    return GpuProcess(
        pid=entry.pid,
        user=user,
        command=command,
        memory_bytes=None if used is None else int(used),
    )


def _read(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except pynvml.NVMLError:
        return None


def _text(error: pynvml.NVMLError) -> str:
    return str(error)
