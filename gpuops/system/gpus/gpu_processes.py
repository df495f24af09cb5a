"""Details of a process on a GPU, as far as they are visible."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil

from gpuops.core.launch.secrets import mask_words
from gpuops.core.machine.device import GpuProcess, Kind, Whose
from gpuops.system.processes.identity import settled_before, stat
from gpuops.text import one_line

COMMAND_LENGTH = 60
MOST_KNOWN, GOOD_S = 4096, 10.0
# The inode of the host's own PID namespace (PROC_PID_INIT_INO).
HOSTS_OWN = 0xEFFFFFFC
DEVICES = ("/dev/nvidia", "/dev/dxg")  # dxg: on Windows
MAPPED = (b"/dev/nvidia", b"/libcuda.so")


class ProcessCache:
    """A cache of identified processes, which are identified again now and then."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def identify(
        self, pid: int, *, kind: Kind, memory_bytes: int | None, contained: bool
    ) -> GpuProcess:
        """Identify a process, with the memory that it holds now."""
        now, known = time.monotonic(), self._known.pop(pid, None)
        if known is None or now >= known.good_until_s:
            seen = stat(pid)
            who = (seen.start_ticks, seen.name) if seen is not None else None
            if known is None or who is None or who != known.who:
                found = identify(pid, kind=kind, memory_bytes=memory_bytes, contained=contained)
                settled = seen is not None and seen.start_ticks < settled_before()
                if who is None or not settled or found.whose != "known":
                    return found
                known = _Known(who, found, 0.0)
            known = known._replace(good_until_s=now + GOOD_S)
        self._known[pid] = known
        if len(self._known) > MOST_KNOWN:  # the least recently used
            del self._known[next(iter(self._known))]
        return replace(known.found, kind=kind, memory_bytes=memory_bytes)


class _Known(NamedTuple):
    """A process by its start and its program's name, with its details."""

    who: tuple[int, str]
    found: GpuProcess
    good_until_s: float


def identify(pid: int, *, kind: Kind, memory_bytes: int | None, contained: bool) -> GpuProcess:
    """Look up a process that the driver lists; ``contained`` as ``in_container`` says.

    In a container the driver may list pids of the host: a process that has the pid here is believed
    to be meant only if it uses the driver.
    """
    user = command = started_at_s = None
    whose: Whose
    if contained and not uses_driver(pid):
        return GpuProcess(pid=pid, memory_bytes=memory_bytes, whose="elsewhere", kind=kind)
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            # A zombie can still hold memory.
            ended = process.status() == psutil.STATUS_ZOMBIE
            user, started_at_s = process.username(), process.create_time()
            command = _command(process, [process.name()] if ended else process.cmdline())
        whose = "gone" if ended else "known"
    except psutil.AccessDenied:
        whose = "hidden"
    except psutil.NoSuchProcess:
        whose = "hidden" if _exists(pid) else "gone" if pid else "elsewhere"
    return GpuProcess(
        pid=pid,
        user=user,
        command=command,
        memory_bytes=memory_bytes,
        started_at_s=started_at_s,
        whose=whose,
        kind=kind,
    )


def in_container() -> bool:
    """Whether only the PIDs of a container are visible, not those of the host."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino != HOSTS_OWN
    except OSError:
        return True  # not known to be the host's


def uses_driver(pid: int) -> bool:
    """Whether a process certainly uses NVIDIA's driver: it has a device open, or CUDA mapped."""
    process = Path("/proc", str(pid))
    try:
        if any(_opened(file).startswith(DEVICES) for file in (process / "fd").iterdir()):
            return True
        mapped = (process / "maps").read_bytes()
    except OSError:  # gone, or of another user
        return False
    return any(name in mapped for name in MAPPED)


def _opened(descriptor: Path) -> str:
    """The path of an open file; empty if it is closed by now."""
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    """Whether the process exists, even if /proc hides it (mounted with ``hidepid``)."""
    if not pid:  # for kill(), pid 0 means our own group
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _command(process: psutil.Process, words: list[str]) -> str:
    """Its command line, without its interpreter's folder."""
    words = words or [process.name()]
    if " " not in words[0]:  # a process that renamed itself has its title there
        words[0] = words[0].rpartition("/")[2]
    return one_line(" ".join(mask_words(words)), COMMAND_LENGTH)
