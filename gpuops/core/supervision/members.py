"""The processes of an attempt: which of those that run now belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol, TypeVar

from gpuops.core.monitor.jobs import Process, find_jobs
from gpuops.core.run import paths


class ProcessId(NamedTuple):
    """Names a process of this boot for good: a pid is used again, a pid with its start is not."""

    pid: int
    start_ticks: int


class Relative(Protocol):
    """A process that has a parent."""

    @property
    def pid(self) -> int:
        """Its pid."""

    @property
    def parent_pid(self) -> int:
        """The pid of its parent now."""

    @property
    def start_ticks(self) -> int:
        """When it was started."""


Some = TypeVar("Some", bound=Relative)


def descendants(known: AbstractSet[ProcessId], running: Iterable[Some]) -> tuple[Some, ...]:
    """The running processes that are known, and all that they started, theirs included."""
    children: dict[int, list[Some]] = {}
    found: dict[int, Some] = {}
    for process in running:
        children.setdefault(process.parent_pid, []).append(process)
        if (process.pid, process.start_ticks) in known:
            found[process.pid] = process
    waiting = list(found.values())
    while waiting:
        parent = waiting.pop()
        # Never a younger parent: it has got the pid of one that ended while they were read.
        started = [
            child
            for child in children.get(parent.pid, ())
            if child.pid not in found and child.start_ticks >= parent.start_ticks
        ]
        found |= {child.pid: child for child in started}
        waiting += started
    return tuple(found.values())


def find_remaining(
    processes: Sequence[Process],
    known: AbstractSet[ProcessId],
    beats: str,
    user: str | None,
) -> tuple[Process, ...]:
    """What is left of an attempt whose reaper has gone.

    ``known`` are those that were seen below the reaper. Others are its own if their environment
    names its heartbeats (``beats``), they run as its ``user``, and torchrun has lost them or they
    are in the session of a known one: a copy of the environment alone makes no rank.
    """
    attempt = paths.parse_beats(beats)
    sessions = {pid for pid, _ in known}
    lost = {
        process.pid
        for job in find_jobs(processes)
        if job.launcher != "unknown" and attempt is not None
        if (job.run_dir, job.attempt) == attempt
        for process in job.processes
    }
    found = {
        ProcessId(process.pid, process.start_ticks)
        for process in processes
        if process.user == user
        and process.variable("GPUOPS_BEAT_DIR") == beats
        and (process.pid in lost or process.session in sessions)
    }
    return descendants(known | found, processes)
