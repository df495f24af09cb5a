"""Calls NVML in a separate process, because a call into a stuck driver never returns.

Run as ``python -I -S nvml_reader.py FOLDER_OF_PYNVML``; only the standard library and pynvml, so
that it starts quickly. Requests are numbers, one per line of stdin. stdout carries JSON lines:

    {"driver": "580.95.05", "cuda": 13000, "gpus": 8}                  once, before any request
    {"failed": 9, "words": "Driver Not Loaded"}                         instead of it
    {"gpu": 0, "facts": {...}}                                         once a GPU is open
    {"gpu": 0, "request": 1, "readings": {...}}                        for each request
    {"gpu": 3, "request": 1, "failed": 15, "words": "GPU is lost"}     instead of it

Facts and readings have the names of the fields of ``core.machine.device.Device``. Each GPU has a
thread: one that is stuck in the driver does not delay the others, and gets no request meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

PR_SET_PDEATHSIG = 1
SLOW_S = 0.05
SM_CLOCK, GPU_SENSOR, NODE_SCOPE, NVLINK_COUNT = 1, 0, 0, 91
UNCORRECTED, SINCE_LOAD = 1, 0
COMPUTE_MODES = {0: "default", 1: "exclusive", 2: "prohibited", 3: "exclusive"}
# Why a GPU runs below its clocks. Idling, or clocks set by hand, do not count.
REASONS = {
    0x04: "the power limit",
    0x20: "heat",
    0x40: "heat (slowed by the hardware)",
    0x80: "the power supply's brake",
    0x10: "a slower GPU of its sync boost group",
    0x200: "the limit of its board",
    0x400: "the limit of its voltage",
}
HARDWARE, HARDWARE_SAYS_WHY = 0x08, 0x40 | 0x80


def main(folder: str) -> None:
    """Answer requests until stdin ends."""
    library, send = Library(_load_pynvml(folder)), _line_writer()
    try:
        library.must("nvmlInit")
        count = library.must("nvmlDeviceGetCount")
    except library.error as error:
        send(failed=error.value, words=str(error))
        return
    driver, cuda = "nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion"
    send(driver=library.ask(driver), cuda=library.ask(cuda), gpus=count)
    answered: SimpleQueue[int] = SimpleQueue()
    inboxes: list[SimpleQueue[int]] = [SimpleQueue() for _ in range(count)]
    for index, inbox in enumerate(inboxes):
        arguments = (library, index, inbox, answered, send)
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
    for line in sys.stdin.buffer:
        for index, inbox in enumerate(inboxes):
            inbox.put(int(line))
            # One after the other while they are quick: threads that compete for the GIL cost
            # several times the work.
            with contextlib.suppress(Empty):
                while answered.get(timeout=SLOW_S) != index:
                    pass  # one that was slow


def _serve(
    library: Library,
    index: int,
    inbox: SimpleQueue[int],
    answered: SimpleQueue[int],
    send: Callable[..., None],
) -> None:
    """Answer the requests to one GPU; of those that came while it was stuck, the last."""
    gpu = None
    while True:
        request = inbox.get()
        while not inbox.empty():
            request = inbox.get()
        try:
            if gpu is None:
                opened = Gpu(library, index)
                send(gpu=index, facts=opened.facts())
                gpu = opened
            send(gpu=index, request=request, readings=gpu.readings())
        except Exception as error:  # noqa: BLE001 - an answer it is, whatever it was
            gpu, code = None, getattr(error, "value", None)
            send(gpu=index, request=request, failed=code, words=str(error))
        answered.put(index)


class Library:
    """pynvml by the names of its functions, of which older drivers lack some."""

    def __init__(self, pynvml: Any) -> None:
        self.pynvml, self.error = pynvml, pynvml.NVMLError
        self._lost = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
        self._unknown = {
            pynvml.NVML_ERROR_NOT_SUPPORTED,
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
            pynvml.NVML_ERROR_NO_PERMISSION,
        }

    def must(self, name: str, *arguments: Any) -> Any:
        """What a function returns; an older driver is asked for the second version of a third.

        Raises:
            NVMLError: it failed.
        """
        try:
            return getattr(self.pynvml, name)(*arguments)
        except UnicodeDecodeError as error:  # a name that is not UTF-8: as much as can be read
            if name == "nvmlDeviceGetUUID":  # half of it names nothing, or another GPU
                return None
            return error.object.decode(errors="replace")
        except self.error as error:
            if not name.endswith("_v3") or error.value != self.pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise
            return self.must(f"{name[:-1]}2", *arguments)

    def ask(self, name: str, *arguments: Any, vital: bool = False) -> Any:
        """What a function returns; ``None`` if the driver does not report it.

        Raises:
            NVMLError: the GPU is lost; or, of a vital reading, it failed.
        """
        try:
            return self.must(name, *arguments)
        except AttributeError:  # an older pynvml
            return None
        except self.error as error:
            if error.value in self._lost or (vital and error.value not in self._unknown):
                raise
            return None


class Gpu:
    """One GPU, opened.

    Raises:
        NVMLError: it cannot be opened; later: it is lost, or its memory cannot be read.
    """

    def __init__(self, library: Library, index: int) -> None:
        self._library = library
        self._handle = library.must("nvmlDeviceGetHandleByIndex", index)
        self._links = 0

    def facts(self) -> dict[str, Any]:
        """The facts that do not change while the driver is loaded."""
        links = self._ask("nvmlDeviceGetFieldValues", [NVLINK_COUNT])
        self._links = links[0].value.uiVal if links and not links[0].nvmlReturn else 0
        words = self._ask("nvmlDeviceGetMemoryAffinity", 16, NODE_SCOPE) or ()
        nodes = [
            64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1
        ]
        return {
            "uuid": self._ask("nvmlDeviceGetUUID"),
            "name": self._ask("nvmlDeviceGetName"),
            "bus_id": getattr(self._ask("nvmlDeviceGetPciInfo"), "busId", None),
            "numa_node": nodes[0] if len(nodes) == 1 else None,
            "power_limit_w": _watts(self._ask("nvmlDeviceGetEnforcedPowerLimit")),
            "clock_max_mhz": self._ask("nvmlDeviceGetMaxClockInfo", SM_CLOCK),
            "pcie": {
                "generation_max": self._ask("nvmlDeviceGetMaxPcieLinkGeneration"),
                "width_max": self._ask("nvmlDeviceGetMaxPcieLinkWidth"),
            },
        }

    def readings(self) -> dict[str, Any]:
        """The readings that change."""
        name, version = "nvmlDeviceGetMemoryInfo", self._library.pynvml.nvmlMemory_v2
        # Version 2 separates what the driver reserves from what is used.
        space = self._ask(name, version, vital=True) or self._ask(name, vital=True)
        mig = self._ask("nvmlDeviceGetMigMode") or (None,)
        return {
            "memory_total_bytes": getattr(space, "total", None),
            "memory_used_bytes": getattr(space, "used", None),
            "utilization_pct": getattr(self._ask("nvmlDeviceGetUtilizationRates"), "gpu", None),
            "temperature_c": self._ask("nvmlDeviceGetTemperature", GPU_SENSOR),
            "power_w": _watts(self._ask("nvmlDeviceGetPowerUsage")),
            "clock_mhz": self._ask("nvmlDeviceGetClockInfo", SM_CLOCK),
            "slowed_by": _slowed_by(self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")),
            "memory": self._memory(),
            "pcie": {
                "generation": self._ask("nvmlDeviceGetCurrPcieLinkGeneration"),
                "width": self._ask("nvmlDeviceGetCurrPcieLinkWidth"),
            },
            "persistence": _flag(self._ask("nvmlDeviceGetPersistenceMode")),
            "mig": _flag(mig[0]),
            "compute_mode": COMPUTE_MODES.get(self._ask("nvmlDeviceGetComputeMode")),
            **self._nvlinks(),
            **self._processes(),
        }

    def _ask(self, name: str, *arguments: Any, vital: bool = False) -> Any:
        return self._library.ask(name, self._handle, *arguments, vital=vital)

    def _memory(self) -> dict[str, Any]:
        ecc = self._ask("nvmlDeviceGetEccMode") or (None,)
        remapped = self._ask("nvmlDeviceGetRemappedRows") or (None,) * 4
        return {
            "ecc_enabled": _flag(ecc[0]),
            "ecc_uncorrected": self._ask("nvmlDeviceGetTotalEccErrors", UNCORRECTED, SINCE_LOAD),
            "remap_pending": _flag(remapped[2]),
            "remap_failed": _flag(remapped[3]),
            "retired_pending": _flag(self._ask("nvmlDeviceGetRetiredPagesPendingStatus")),
        }

    def _nvlinks(self) -> dict[str, Any]:
        states = [self._ask("nvmlDeviceGetNvLinkState", link) for link in range(self._links)]
        if all(state is None for state in states):
            return {}
        return {
            "nvlinks_up": states.count(1),
            "nvlinks_down": [link for link, state in enumerate(states) if state == 0],
        }

    def _processes(self) -> dict[str, Any]:
        """Triples of pid, bytes and kind; or the code of the error for which there are none."""
        try:
            computing = self._library.must("nvmlDeviceGetComputeRunningProcesses_v3", self._handle)
        except self._library.error as error:
            return {"processes": None, "processes_failed": error.value}
        computing += self._ask("nvmlDeviceGetMPSComputeRunningProcesses_v3") or []
        drawing = self._ask("nvmlDeviceGetGraphicsRunningProcesses_v3") or []
        # A process that does both computes.
        found = {entry.pid: (entry.usedGpuMemory, "graphics") for entry in drawing}
        found |= {entry.pid: (entry.usedGpuMemory, "compute") for entry in computing}
        return {"processes": [(pid, *known) for pid, known in found.items()]}


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _slowed_by(reasons: int | None) -> list[str] | None:
    if reasons is None:
        return None
    unnamed = reasons & HARDWARE and not reasons & HARDWARE_SAYS_WHY
    words = [words for bit, words in REASONS.items() if reasons & bit]
    return [*words, "the hardware"] if unnamed else words


def _line_writer() -> Callable[..., None]:
    """A function that writes a whole line, from any thread."""
    stdout, turn = os.dup(1), threading.Lock()
    os.dup2(2, 1)  # the library's own output must not mix with the answers

    def send(**line: Any) -> None:
        with turn:
            os.write(stdout, json.dumps(line).encode() + b"\n")

    return send


def _load_pynvml(folder: str) -> Any:
    """Import pynvml, and ask the kernel to end this process with its parent."""
    stand_in = types.ModuleType("ctypes.util")
    # It imports this one and never calls it; with all that comes along, a third of our start.
    vars(stand_in)["find_library"] = _find_library
    sys.modules["ctypes.util"] = stand_in
    sys.path.append(folder)
    import ctypes  # noqa: PLC0415 - importers that only need its path do not pay

    import pynvml  # noqa: PLC0415 - found in the given folder only

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if _orphaned():  # it has ended before the kernel was told
        os._exit(0)
    return pynvml


def _orphaned() -> bool:
    """Whether the other end of stdin is closed."""
    poller = select.poll()
    poller.register(0, 0)
    return any(happened & select.POLLHUP for _, happened in poller.poll(0))


def _find_library(name: str) -> str | None:
    del sys.modules["ctypes.util"]
    from ctypes.util import find_library  # noqa: PLC0415

    return find_library(name)


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # a thread in the D state cannot be waited for
