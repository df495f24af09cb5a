"""GPUs as values. ``None`` means that a reading was not available, never zero."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "lost", "stuck", "no permission", "unreadable"]
Whose = Literal["known", "hidden", "elsewhere", "gone"]
Kind = Literal["compute", "graphics"]
ComputeMode = Literal["default", "exclusive", "prohibited"]
NO_SLICES = "slices of GPUs (MIG) are not supported"
PROHIBITED = "compute mode Prohibited; `nvidia-smi -c` sets it"
DENIED = "the driver does not show processes to this user"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory on a GPU.

    ``whose``: how much is known of it. ``hidden`` is a process of another user whose details this
    user may not read, ``gone`` one that has ended but is still listed by the driver.
    ``elsewhere``: the pid is one of the host and may mean another process here, or none.
    """

    pid: int
    user: str | None = None
    command: str | None = None
    memory_bytes: int | None = None
    started_at_s: float | None = None
    whose: Whose = "known"
    kind: Kind = "compute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcie:
    """The link to the host: generation and lanes, and the maximum that GPU and slot support.

    The generation drops while a GPU idles, and rises again under load; the width stays.
    """

    generation: int | None = None
    generation_max: int | None = None
    width: int | None = None
    width_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The GPU's own checks of its memory. Counts start when the driver was loaded."""

    ecc_enabled: bool | None = None
    ecc_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    retired_pending: bool | None = None

    @property
    def awaits_reset(self) -> bool:
        """Whether a reset would replace broken memory by spare memory."""
        return bool(self.remap_pending or self.retired_pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Xid:
    """An error that the driver wrote into the kernel's log."""

    code: int
    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A GPU or port held through gpuops: by which user, since when (seconds since the epoch).

    User and time are those of the lock's ``file``; ``ours``: it belongs to this user. Run, folder
    and pid are what the file says, ``None`` if it says nothing: of another user's not to be
    believed. ``unusable``: why the file is not a lock, so that it must be taken for held.
    """

    run_id: str | None = None
    run_dir: str | None = None
    user: str | None = None
    ours: bool = False
    pid: int | None = None
    since_s: float | None = None
    file: str | None = None
    unusable: str | None = None

    def __str__(self) -> str:
        """Continues "GPU 3 ..."."""
        user = self.user or "another user"
        if self.unusable is not None and self.file is not None:
            flag = " -r" if "folder" in self.unusable else ""
            way = f"`{'' if self.ours else 'sudo '}rm{flag} {shlex.quote(self.file)}`"
            return f"is in use by {user}: its lock {self.unusable} ({way} frees it)"
        run = f"run {self.run_id}" if self.run_id else "another gpuops run"
        return f"is held by {run} of {user}" if self.user else f"is held by {run}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One physical GPU, in PCI bus order as nvidia-smi shows it.

    ``fault``: why the GPU cannot be used; its other readings may then be ``None``.
    ``memory_used_bytes`` does not include what the driver reserves for itself, if the driver
    reports that. ``processes_gap``: why its processes could not be listed. ``slowed_by``: why the
    GPU runs below its clocks; ``nvlinks_down``: the numbers of the links that are down.
    ``compute_mode``: whether it takes any number of programs, one process, or none.
    ``withheld_by``: the variable of a scheduler that leaves this GPU to others, and its value.
    """

    index: int
    state: State = "ok"
    fault: str | None = None
    uuid: str | None = None
    name: str | None = None
    bus_id: str | None = None
    numa_node: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilization_pct: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    slowed_by: tuple[str, ...] | None = None
    memory: Memory = Memory()
    pcie: Pcie = Pcie()
    nvlinks_up: int | None = None
    nvlinks_down: tuple[int, ...] | None = None
    persistence: bool | None = None
    mig: bool | None = None
    compute_mode: ComputeMode | None = None
    xids: tuple[Xid, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    processes_gap: str | None = None
    claim: Claim | None = None
    withheld_by: str | None = None

    @property
    def busy(self) -> bool | None:
        """Whether a process computes on it; ``None`` if that could not be read."""
        return None if self.processes is None else bool(self.computing)

    @property
    def computing(self) -> tuple[GpuProcess, ...]:
        """The processes that compute on it, without desktops and display servers."""
        return tuple(process for process in self.processes or () if process.kind == "compute")

    @property
    def unowned_bytes(self) -> int | None:
        """Memory in use that no listed process holds; ``None`` if that is not known."""
        if self.memory_used_bytes is None:
            return None
        held = [process.memory_bytes for process in self.processes or ()]
        known = [size for size in held if size is not None]
        return max(0, self.memory_used_bytes - sum(known)) if known == held else None

    @property
    def label(self) -> str:
        """``GPU 3``."""
        return f"GPU {self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRef:
    """A GPU of a plan, by all the names that it has."""

    index: int
    uuid: str | None = None
    bus_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInventory:
    """All GPUs of a host and the driver that lists them. ``cuda`` is the newest it can run.

    ``gaps``: what could not be read, and why; under ``gpus`` if no GPU could. ``absent``: no
    driver is installed, so no GPUs are expected. ``simulated`` describes a simulated host.
    """

    driver: str | None = None
    cuda: tuple[int, int] | None = None
    devices: tuple[Device, ...] = ()
    absent: bool = False
    simulated: str | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)


def is_slice(selector: str) -> bool:
    """Whether a selector names a slice of a GPU, which no launch can take."""
    return selector.lower().startswith("mig-")


def select(devices: tuple[Device, ...], selector: str) -> tuple[Device, ...]:
    """The devices with this index or UUID (or the beginning of a UUID)."""
    if not selector:
        return ()
    if selector.isascii() and selector.isdecimal():
        index = selector.lstrip("0") or "0"
        return tuple(one for one in devices if str(one.index) == index)
    return tuple(one for one in devices if (one.uuid or "").lower().startswith(selector.lower()))
