"""The training jobs on this host: found among all processes, ended by their identity."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import psutil

from gpuops.core.machine.device import GpuInventory
from gpuops.core.monitor.hung_jobs import ProcessNow
from gpuops.core.monitor.jobs import VARIABLES, Process, TrainingJob, find_jobs, gpu_uses
from gpuops.system.processes.identity import Identity, settled_before, stat

ALL_EVERY = 16  # calls
POLL_S = 0.02


def find(inventory: GpuInventory | None = None) -> tuple[TrainingJob, ...]:
    """Every user's training jobs, the oldest first; ``inventory`` tells which GPUs they use.

    The job that this process itself belongs to is left out.
    """
    return Census().jobs(inventory)


def processes() -> list[Process]:
    """Every process of the host that could belong to a job."""
    return [process for pid in psutil.pids() if (process := _read(pid)) is not None]


def own_family() -> set[int]:
    """The pids of this process and of those that it descends from."""
    return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}


class _Known(NamedTuple):
    """A process that was read, by its start and the name of its program."""

    start_ticks: int
    name: str
    process: Process | None


class Census:
    """The processes of the host, over many calls; a known one is asked only for its state.

    A process keeps its command, user and environment once it has settled: until then it may be a
    fork that is about to exec. Another start time is another process.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._lively: set[int] = set()  # those of jobs, and those that have not settled
        self._looks = 0
        self._us = own_family()

    def jobs(self, inventory: GpuInventory | None = None) -> tuple[TrainingJob, ...]:
        """The training jobs now; those that this process itself belongs to are left out."""
        young = settled_before()
        # The state of all others does not matter now; but a pid may be reused.
        every = self._looks % ALL_EVERY == 0
        self._looks += 1
        seen = {
            pid: self._look(pid, young)
            if every or pid in self._lively or pid not in self._known
            else self._known[pid]
            for pid in psutil.pids()
        }
        listed, elsewhere = gpu_uses(inventory)
        self._known = {pid: one for pid, one in seen.items() if one is not None}
        for pid, one in self._known.items():
            use = listed.get(pid, elsewhere)
            if one.process and use != (one.process.gpus, one.process.gpu_memory_bytes):
                placed = replace(one.process, gpus=use[0], gpu_memory_bytes=use[1])
                self._known[pid] = one._replace(process=placed)
        found = find_jobs(one.process for one in self._known.values() if one.process is not None)
        self._lively = {pid for pid, one in self._known.items() if one.start_ticks > young}
        self._lively |= {process.pid for job in found for process in job.processes}
        return tuple(
            job for job in found if self._us.isdisjoint(process.pid for process in job.processes)
        )

    def _look(self, pid: int, young: float) -> _Known | None:
        """The process, as far as it could belong to a job."""
        seen = stat(pid)
        if seen is None:
            return None
        then = self._known.get(pid)
        same = then is not None and (then.start_ticks, then.name) == (seen.start_ticks, seen.name)
        if then is None or not same or seen.start_ticks > young:
            return _Known(seen.start_ticks, seen.name, _read(pid))
        known = then.process
        if known is None:
            return then
        now = (seen.state, seen.parent_pid, seen.session, seen.terminal)
        if now == (known.state, known.parent_pid, known.session, known.terminal):
            return then
        state, parent_pid, session, terminal = now
        changed = replace(
            known, state=state, parent_pid=parent_pid, session=session, terminal=terminal
        )
        return then._replace(process=changed)


def identity(process: Process) -> Identity:
    """The identity of a process, so that a signal can only reach this one."""
    return Identity(process.pid, process.start_ticks)


def look_again(jobs: Iterable[TrainingJob]) -> dict[int, ProcessNow]:
    """The processes that have the jobs' pids now; free pids are left out."""
    return {
        process.pid: ProcessNow(start_ticks=now.start_ticks, state=now.state)
        for job in jobs
        for process in job.processes
        if (now := stat(process.pid)) is not None
    }


def end(processes: Sequence[Process], *, terminate_s: float, kill_s: float) -> tuple[Process, ...]:
    """Send SIGTERM, and SIGKILL to those left after ``terminate_s``; return those still alive."""
    left = tuple(processes)
    for number, timeout_s in ((signal.SIGTERM, terminate_s), (signal.SIGKILL, kill_s)):
        for process in left:
            identity(process).send(number)
        left = _outlast(left, timeout_s)
    return left


def _outlast(processes: Sequence[Process], timeout_s: float) -> tuple[Process, ...]:
    until_s = time.monotonic() + timeout_s
    while left := tuple(process for process in processes if identity(process).alive):
        if time.monotonic() > until_s:
            break
        time.sleep(POLL_S)
    return left


def _read(pid: int) -> Process | None:
    seen = stat(pid)
    if seen is None:
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            argv = process.cmdline()
            ours = process.uids().real == os.getuid()
            user, started_at_s = process.username(), process.create_time()
    except psutil.Error:  # gone, or hidden
        return None
    if not argv and pid != 1:  # the kernel's own
        return None
    found = Process(
        pid=pid,
        start_ticks=seen.start_ticks,
        parent_pid=seen.parent_pid,
        session=seen.session,
        terminal=seen.terminal,
        state=seen.state,
        user=user,
        ours=ours,
        argv=tuple(argv),
        python=_is_python(process, argv),
        environment=_environment(process),
        started_at_s=started_at_s,
    )
    again = stat(pid)  # with a pid reused in between, it would be a mixture of two
    return found if again is not None and again.start_ticks == seen.start_ticks else None


def _is_python(process: psutil.Process, argv: Sequence[str]) -> bool:
    """Whether its executable is a Python, if that is readable: a process can rename itself."""
    try:
        path = process.exe()
    except psutil.Error:
        path = ""
    name = (path or "".join(argv[:1])).rpartition("/")[2]
    return name.startswith(("python", "pypy"))


def _environment(process: psutil.Process) -> Mapping[str, str] | None:
    try:
        environment = process.environ()
    except psutil.Error:
        return None
    return {name: environment[name] for name in VARIABLES if name in environment}
