"""The GPUs of this host, read through NVML. What cannot be read is ``None``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuops.core.machine.device import (
    DENIED,
    Device,
    GpuInventory,
    GpuProcess,
    Memory,
    Pcie,
    State,
    Xid,
)
from gpuops.core.machine.gpu_use import unseen_work
from gpuops.system.gpus import gpu_processes
from gpuops.system.gpus.nvml_child import Child, EndedError, Gpu, NoDriverError
from gpuops.system.host.kernel_log import KMSG, KernelLog, slot
from gpuops.text import MIB

# Without persistence mode the driver wakes the GPUs on the first request, one after the other.
START_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 3.0
# The driver itself needs less, and the smallest program that computes needs more.
UNREMARKABLE_BYTES = 256 * MIB
# Utilisation is a mean over up to a second: it outlasts a process that has just ended, and an idle
# GPU that wakes may show some.
SETTLE_S, SAMPLE_S = 1.5, 0.25
DRIVERS_GPUS = Path("/proc/driver/nvidia/gpus")
PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAYS = "0x10de", "0x03"

NO_PERMISSION, LOST, RESET_REQUIRED = 4, 15, 16
STATES: dict[int, State] = {LOST: "lost", NO_PERMISSION: "no permission"}
WAYS_OUT = "`sudo dmesg | grep NVRM` may say why; a restart of the host frees it"
NOT_READ = {
    LOST: "it has fallen off the bus (GPU is lost; a restart of the host may bring it back)",
    RESET_REQUIRED: "it needs a reset (`sudo nvidia-smi --gpu-reset -i INDEX`)",
    NO_PERMISSION: "this user may not open it (`ls -l /dev/nvidia*` shows who may)",
}


def read(timeout_s: float = READ_TIMEOUT_S) -> GpuInventory:
    """Read every GPU once, in PCI bus order, including GPUs that do not answer."""
    with Reader() as reader:
        return reader.read_use(timeout_s)


class Reader(AbstractContextManager["Reader"]):
    """Reads the GPUs repeatedly, through one child process.

    A child that has ended is replaced at the next reading. The kernel ends it together with the
    thread that started it, so a single thread must do the reading.
    """

    def __init__(
        self, *, start_timeout_s: float = START_TIMEOUT_S, kernel_log: Path = KMSG
    ) -> None:
        self._start_timeout_s = start_timeout_s
        self._log = KernelLog(kernel_log)
        self._contained = gpu_processes.in_container()
        self._processes = gpu_processes.ProcessCache()
        self._child: Child | None = None
        self._at_work: frozenset[int] = frozenset()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def read_use(self, timeout_s: float = READ_TIMEOUT_S) -> GpuInventory:
        """Read every GPU, to decide whether it is in use.

        If one begins to work and no listed process explains it, it is read again for a while.
        """
        until, inventory = time.monotonic() + SETTLE_S, self.read(timeout_s)
        while _working(inventory) - self._at_work and time.monotonic() < until:
            time.sleep(SAMPLE_S)
            inventory = self.read(timeout_s)
        self._at_work = _working(inventory)
        return inventory

    def read(self, timeout_s: float = READ_TIMEOUT_S) -> GpuInventory:
        """Read every GPU; one that has not answered after ``timeout_s`` is ``stuck``.

        A driver that is starting, and a GPU that it has to wake, get more time. A GPU found stuck
        is not waited for again.
        """
        inherited = self._child is not None
        try:
            child = self._child = self._child or Child()
            child.look(timeout_s, self._start_timeout_s)
        except EndedError as error:
            self._end()
            # A child that was killed since the last reading says nothing about the driver.
            if inherited:
                return self.read(timeout_s)
            return GpuInventory(absent=isinstance(error, NoDriverError), gaps={"gpus": str(error)})
        now = time.monotonic()
        if not child.started:
            return GpuInventory(gaps={"gpus": silence(now - child.since)})
        xids = self._log.xids()
        addresses = bus_ids(len(child.gpus))
        devices = (
            self._device(index, gpu, addresses[index], xids, now)
            for index, gpu in enumerate(child.gpus)
        )
        return GpuInventory(
            driver=child.driver,
            cuda=child.cuda,
            devices=tuple(devices),
            gaps={} if self._log.gap is None else {"xids": self._log.gap},
        )

    def close(self) -> None:
        """End the child without waiting for stuck GPUs."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _device(
        self,
        index: int,
        gpu: Gpu,
        address: str | None,
        xids: Mapping[str, tuple[Xid, ...]] | None,
        now: float,
    ) -> Device:
        """A GPU; if it does not answer now, with its last known facts."""
        facts = {"bus_id": address, **gpu.facts}
        place = slot(facts["bus_id"] or "")
        if facts.get("numa_node") is None and place is not None:
            node = _read_text(PCI_DEVICES / place / "numa_node")  # -1 if the host has only one
            facts["numa_node"] = int(node) if node.isdecimal() else None
        device = Device(
            index=index,
            **{**facts, "pcie": Pcie(**facts.get("pcie", {}))},
            xids=None if xids is None or place is None else xids.get(place, ()),
        )
        if gpu.answer is None:
            return replace(device, state="stuck", fault=silence(now - gpu.asked_at))
        if "readings" not in gpu.answer:
            code, words = gpu.answer["failed"], gpu.answer["words"]
            state = STATES.get(code, "unreadable")
            return replace(device, state=state, fault=failure(index, code, words))
        return self._read(device, dict(gpu.answer["readings"]))

    def _read(self, device: Device, readings: dict[str, Any]) -> Device:
        slowed_by, links_down = readings.pop("slowed_by"), readings.pop("nvlinks_down", None)
        found, denied = readings.pop("processes"), readings.pop("processes_failed", None)
        pcie, memory = readings.pop("pcie"), readings.pop("memory")
        read = replace(
            device,
            pcie=replace(device.pcie, **pcie),
            memory=Memory(**memory),
            slowed_by=None if slowed_by is None else tuple(slowed_by),
            nvlinks_down=None if links_down is None else tuple(links_down),
            processes=None if found is None else tuple(map(self._process, found)),
            **readings,
        )
        return replace(read, processes_gap=self._gap(read, denied))

    def _process(self, entry: tuple[int, int | None, Any]) -> GpuProcess:
        pid, memory_bytes, kind = entry
        return self._processes.identify(
            pid, kind=kind, memory_bytes=memory_bytes, contained=self._contained
        )

    def _gap(self, device: Device, denied: int | None) -> str | None:
        if denied == NO_PERMISSION:
            return DENIED
        if device.processes is None:
            return "the driver does not list processes of this GPU"
        if self._contained and (device.unowned_bytes or 0) > UNREMARKABLE_BYTES:
            return "processes of other containers are not shown here"
        return None


def _working(inventory: GpuInventory) -> frozenset[int]:
    """The GPUs that work, without a listed process that explains it."""
    return frozenset(device.index for device in inventory.devices if unseen_work(device))


def bus_ids(count: int, folder: Path = DRIVERS_GPUS) -> list[str | None]:
    """The GPUs' PCI addresses, from the driver's files in /proc.

    A lost GPU no longer reports its address, and the kernel's log has no other name for it.
    """
    try:
        found = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        found = []
    return [*found] if len(found) == count else [None] * count


def on_the_bus(folder: Path = PCI_DEVICES) -> bool:
    """Whether there are NVIDIA GPUs, with or without a driver."""
    try:
        devices = [*folder.iterdir()]
    except OSError:
        return False
    return any(
        _read_text(device / "vendor") == NVIDIA
        and _read_text(device / "class").startswith(DISPLAYS)
        for device in devices
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def failure(index: int, code: int | None, words: str = "") -> str:
    """The fault of a GPU that answers with an NVML error."""
    fault = NOT_READ.get(code or 0, f"the driver cannot read it ({words}; {WAYS_OUT})")
    return fault.replace("INDEX", str(index))


def silence(seconds: float) -> str:
    """The fault of a GPU, or the driver, that has not answered for so long."""
    return f"the driver has not answered for {max(1, round(seconds))} s ({WAYS_OUT})"
