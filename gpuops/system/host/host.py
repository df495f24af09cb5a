"""The host around the GPUs: memory, disk, limits, clock, ports."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import psutil

from gpuops.core.finding import Finding
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.snapshot import DataCount, HostSnapshot, Interpreter, ProcessLimit
from gpuops.core.preflight.requirements import Requirements
from gpuops.errors import GpuopsError
from gpuops.system import files, owners
from gpuops.system.gpus.gpu_processes import in_container
from gpuops.system.host import cgroups, network, shadows

SHM = Path("/dev/shm")  # noqa: S108 - looked at, not written
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


def snapshot(
    needs: Requirements,
    *,
    interpreter: Interpreter,
    inventory: GpuInventory,
    count: Callable[[Path], DataCount] | None = None,
    trainer_findings: Sequence[Finding] = (),
    missing_module: str | None = None,
    claimed_ports: Mapping[int, str] = MappingProxyType({}),
) -> HostSnapshot:
    """A snapshot of the host, as far as the job needs it.

    ``count`` counts the samples of the data set that the job needs. ``claimed_ports``: those that
    other launches have claimed, but may not use yet, and words on who has each.
    """
    total, available = _memory()
    port = needs.master_port
    port_problem = why_port_unusable(port) or claimed_ports.get(port)
    output_gap, skew_s = _try_to_write(Path(needs.output_dir))
    data, data_gap = None, ""
    if needs.data_root is not None and count is not None:
        try:
            data = count(Path(needs.data_root))
        except GpuopsError as error:
            data_gap = error.message.rstrip(".")
    loopback_gap = network.why_no_loopback()
    gaps = {"port": port_problem, "output": output_gap, "data": data_gap, "loopback": loopback_gap}
    gaps["runs"] = owners.why_shared(Path(needs.runs_dir)) if needs.runs_dir else None
    return HostSnapshot(
        hostname=socket.gethostname(),
        now_s=time.time(),
        cpu_cores=_cores(),
        memory_total_bytes=total,
        memory_available_bytes=available,
        shm_free_bytes=free_bytes(SHM),
        disk_free_bytes=free_bytes(_existing(Path(needs.output_dir))),
        output_writable=output_gap is None,
        open_files=_limit(resource.RLIMIT_NOFILE),
        memlock_bytes=_limit(resource.RLIMIT_MEMLOCK),
        address_space_bytes=_limit(resource.RLIMIT_AS),
        process_limits=tuple(process_limits()),
        clock_skew_s=skew_s,
        clock_synchronised=_clock_synchronised(),
        interfaces=network.interfaces(),
        infiniband=network.infiniband(),
        environment=network.settings(),
        port_free=port_problem is None,
        next_free_port=next_free_port(port, claimed_ports) if port_problem else None,
        interpreter=interpreter,
        missing_module=missing_module,
        hidden=shadows.find(needs.import_folder) if needs.import_folder else {},
        inventory=inventory,
        data=data,
        trainer_findings=tuple(trainer_findings),
        gaps={name: why for name, why in gaps.items() if why},
    )


def why_port_unusable(port: int) -> str | None:
    """Why no server could listen on the port of every address, as torchrun's store does."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "in use"
            if error.errno == errno.EACCES:
                return "not allowed for this user"
            continue  # the family is switched off here
    return None


def next_free_port(port: int, claimed: Collection[int] = ()) -> int | None:
    """The first port above one that is free and not claimed."""
    above = range(port + 1, min(port + 1000, 65536))
    return next((p for p in above if p not in claimed and not why_port_unusable(p)), None)


def _memory() -> tuple[int, int]:
    """Total and available bytes, of the host or of the container."""
    memory = psutil.virtual_memory()
    limit, left = cgroups.memory_limit_bytes(), cgroups.memory_left_bytes()
    total = memory.total if limit is None else min(memory.total, limit)
    return total, memory.available if left is None else min(memory.available, left)


def _cores() -> int:
    allowed, quota = len(os.sched_getaffinity(0)), cgroups.cores()
    return allowed if quota is None else min(allowed, quota)


def _limit(which: int) -> float:
    soft, _ = resource.getrlimit(which)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


def process_limits() -> Iterator[ProcessLimit]:
    """The limits of this user (``ulimit -u``; root has none) and of our control group."""
    limit = _limit(resource.RLIMIT_NPROC)
    if limit != float("inf") and not _is_root():
        used = sum(_tasks(entry) for entry in os.scandir("/proc") if entry.name.isdecimal())
        yield ProcessLimit(of="user", limit=int(limit), used=used, unseen=in_container())
    if (group := cgroups.processes()) is not None:
        yield ProcessLimit(of="group", limit=group[0], used=group[1])


def _tasks(process: os.DirEntry[str]) -> int:
    """How many threads a process of this user has; none if it is another user's, or gone."""
    try:
        if process.stat().st_uid != os.getuid():
            return 0
        return os.stat(f"{process.path}/task").st_nlink - 2  # noqa: PTH116 - a folder for each
    except OSError:
        return 0


def _is_root() -> bool:
    """Whether we are the host's root, not only that of a user namespace."""
    try:
        owner = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:2]
    except OSError:
        owner = ["0", "0"]
    return os.getuid() == 0 and owner == ["0", "0"]


def _clock_synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # asks, sets nothing
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not files.exists(path):
        path = path.parent
    return path


def free_bytes(path: Path) -> int | None:
    """The room on the disk of a folder; ``None`` if it cannot be told."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _try_to_write(path: Path) -> tuple[str | None, float | None]:
    """Why a folder cannot be written, or how far its disk's clock is ahead of ours, in seconds."""
    place = _existing(path)
    if not place.is_dir():
        return f"{place} is a file", None
    probe = place / f".gpuops-probe-{os.getpid()}"
    try:  # os.access is wrong on network file systems and for root
        probe.touch(exist_ok=False)
        skew_s = probe.stat().st_mtime - time.time()
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error), None
    return None, skew_s
