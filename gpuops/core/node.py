"""All that preflight may look at, and what a job requires of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuops.core.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python that will train; ``None`` for what it does not have."""

    path: str
    python: str | None
    torch: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCount:
    """A data set as it lies on disk: samples per split, and the sample folders that lack a file."""

    root: str
    samples: Mapping[str, int]
    folders: tuple[str, ...]
    incomplete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """One look at the machine. ``gaps`` names what could not be read, and why."""

    hostname: str
    cpu_cores: int | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    shm_free_bytes: int | None = None
    disk_free_bytes: int | None = None
    output_writable: bool | None = None
    port_free: bool | None = None
    next_free_port: int | None = None
    interpreter: Interpreter | None = None
    devices: tuple[Device, ...] = ()
    data: DataCount | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What the job needs of the machine. ``data_root`` is ``None`` where it needs no files."""

    workers: int
    master_port: int
    output_dir: str
    memory_per_worker_bytes: int
    disk_bytes: int
    gpu_indices: tuple[int, ...] = ()
    data_root: str | None = None
    data_splits: tuple[str, ...] = ()
    data_built_in: str | None = None
    resume: str | None = None
    resume_checkpoint: str | None = None
