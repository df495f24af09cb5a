"""A snapshot of the host: everything that preflight checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpuops.core.finding import Finding
from gpuops.core.machine.device import GpuInventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python that will train; ``None`` for what it does not have.

    ``torch_folder`` is where the package lies.
    """

    path: str
    python: str | None
    torch: str | None
    cuda: str | None
    nccl: str | None = None
    torch_folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface that is up and running, with its addresses in the kernel's order."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCount:
    """A data set on disk: the number of whole samples per split, and the unusable samples.

    ``incomplete``: the sample folders that lack a file; ``unreadable``: those with an unreadable
    file, and the reason: ``train/a: pose.npy is empty``. ``places``: the folder of each split;
    ``opened``: how many files were opened (the others are checked by name and size alone).
    """

    root: str
    samples: Mapping[str, int]
    folders: tuple[str, ...]
    incomplete: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    opened: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimit:
    """How many processes and threads a user or a control group may have, and has now.

    ``unseen``: more may count that are outside of this container.
    """

    of: Literal["user", "group"]
    limit: int
    used: int
    unseen: bool = False

    @property
    def left(self) -> int:
        """How many more there may be."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """The state of the host at ``now_s`` (seconds since the epoch).

    Cores and memory are what this user's processes may use, in a container less than the host has.
    ``open_files``, ``memlock_bytes`` and ``address_space_bytes`` are the limits of a process, or
    infinite. ``clock_skew_s``: how far the output disk is ahead of the host's clock.
    ``environment``: the variables that NCCL and gloo will read. ``hidden``: the modules that the
    ranks would not get from the interpreter, and the file that each gets instead.
    ``trainer_findings``: those of the trainer's own check. ``gaps``: what could not be read or
    reached, and why.
    """

    hostname: str
    now_s: float | None = None
    cpu_cores: int | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    shm_free_bytes: int | None = None
    disk_free_bytes: int | None = None
    output_writable: bool | None = None
    open_files: float | None = None
    memlock_bytes: float | None = None
    address_space_bytes: float | None = None
    process_limits: tuple[ProcessLimit, ...] = ()
    clock_skew_s: float | None = None
    clock_synchronised: bool | None = None
    interfaces: tuple[Interface, ...] | None = None
    infiniband: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port_free: bool | None = None
    next_free_port: int | None = None
    interpreter: Interpreter | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    missing_module: str | None = None
    inventory: GpuInventory = field(default_factory=GpuInventory)
    data: DataCount | None = None
    trainer_findings: tuple[Finding, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)
