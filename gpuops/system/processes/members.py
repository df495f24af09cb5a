"""The processes of an attempt below its reaper, kept by identity in its state folder.

A process that takes over a run, or stops it, finds there what a dead reaper can no longer end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gpuops import reaper
from gpuops.core.run import paths
from gpuops.core.supervision.members import ProcessId, descendants, find_remaining
from gpuops.errors import GpuopsError
from gpuops.system import files, owners
from gpuops.system.processes.identity import ROLES, Identity, is_same_folder, parse, proven

EVERY_S = 0.5
SHARE = 0.0005  # of the time may be spent on looking
STAT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A process of an attempt; a rank has a number."""

    identity: Identity
    rank: int | None = None


class MemberRecord:
    """Looks at the processes of an attempt again and again; writes them down if they change.

    A process that was none of them does not become one: only new ones are looked at.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir, self._due_s = state_dir, 0.0
        self._others: set[str] = set()
        self._agent: Identity | None = None
        self._shim: Identity | None = None
        self.members = read(state_dir)

    @property
    def ranks(self) -> dict[int, Identity]:
        """The ranks of the last look."""
        return {one.rank: one.identity for one in self.members if one.rank is not None}

    def look(self) -> None:
        """Look, if it is time: the more processes a host has, the less often."""
        if time.monotonic() < self._due_s:
            return
        first, begin_s = not self._others, time.thread_time()
        found = self._find()
        if found != self.members:
            self.members = found
            with suppress(GpuopsError):  # on a full disk we still know them
                _write(self._state_dir, found)
        pause_s = 0.0 if first else (time.thread_time() - begin_s) / SHARE
        self._due_s = time.monotonic() + max(EVERY_S, pause_s)

    def _find(self) -> tuple[Member, ...]:
        if self._agent is None or self._shim is None:
            self._agent = proven(self._state_dir, "agent")
            self._shim = proven(self._state_dir, "reaper")
        agent, shim = self._agent, self._shim
        before = {_id(one.identity): one for one in self.members}
        roots = {_id(one) for one in (agent, shim) if one is not None}
        if not (before or roots):  # it is just being started
            return ()
        pids = set(os.listdir("/proc"))  # noqa: PTH208 - names are all it takes
        running, found = _running(pids - self._others), []
        self._others = pids - {str(pid) for pid, _ in roots}
        for one in descendants(before.keys() | roots, running):
            self._others.discard(str(one.pid))
            key = ProcessId(one.pid, one.start_ticks)
            known = before.get(key) or Member(Identity(*key))
            if known.rank is None and agent is not None and one.parent_pid == agent.pid:
                known = Member(known.identity, _rank(one.pid))
            if shim is None or key != _id(shim):
                found.append(known)
        return tuple(sorted(found, key=lambda member: member.identity.pid))


def read(state_dir: Path) -> tuple[Member, ...]:
    """The processes of an attempt as they were last recorded, by us or by root.

    A copy of the folder has none: its record names processes of the original.
    """
    record = files.read_json(state_dir / paths.MEMBERS, of=owners.trusted()) or {}
    its = is_same_folder(str(record.get("state_dir")), state_dir)
    listed = record.get("members") if its else None
    found = []
    for one in listed if isinstance(listed, list) else ():
        identity, rank = parse(one), one.get("rank") if isinstance(one, dict) else None
        if identity is not None:
            found.append(Member(identity, rank if isinstance(rank, int) else None))
    return tuple(found)


def alive(members: Iterable[Member]) -> tuple[Member, ...]:
    """Those that still run."""
    return tuple(one for one in members if one.identity.alive)


def left(state_dir: Path, before: Sequence[Member] = ()) -> tuple[Member, ...]:
    """What lives on of an attempt whose reaper has gone; first those of ``before`` that do.

    A reaper that recorded its exit has seen all others end: only what is recorded may be left then,
    stuck in the kernel. Else all processes of the host are looked at.
    """
    if found := alive(before):
        return found
    recorded = read(state_dir)
    if read_exit(state_dir) is not None:
        return alive(recorded)
    if (uid := owners.owner(state_dir)) is None:
        return ()
    from gpuops.system.processes import jobs  # noqa: PLC0415 - slow, and only if a reaper was lost

    known = [one.identity for one in recorded if one.identity.here]
    known += [one for role in ROLES if (one := proven(state_dir, role))]
    remaining = find_remaining(
        jobs.processes(), {*map(_id, known)}, str(state_dir / paths.BEATS), owners.name(uid)
    )
    us = jobs.own_family()
    return tuple(Member(jobs.identity(one), one.rank) for one in remaining if one.pid not in us)


def read_exit(state_dir: Path) -> dict[str, Any] | None:
    """How torchrun ended, as the reaper of the attempt recorded it; ``None`` if it did not.

    Another user may write to the folder: a file of theirs would end the run for its supervisor.
    """
    believed = owners.believed(state_dir.parents[1])
    return files.read_json(state_dir / reaper.EXIT, files.LONGEST_RECORD, believed)


def format_members(members: Iterable[Member]) -> str:
    """``rank 0 (pid 12), rank 1 (pid 13), pid 14``."""
    return ", ".join(
        f"pid {one.identity.pid}"
        if one.rank is None
        else f"rank {one.rank} (pid {one.identity.pid})"
        for one in members
    )


def _write(state_dir: Path, members: Iterable[Member]) -> None:
    listed = [{**asdict(one.identity), "rank": one.rank} for one in members]
    # Not synced: after a crash of the host none of these processes is there.
    record = {"state_dir": str(state_dir), "members": listed}
    files.write_json(state_dir / paths.MEMBERS, record, sync=False)


class _Running(NamedTuple):
    pid: int
    parent_pid: int
    start_ticks: int


def _running(names: Iterable[str]) -> list[_Running]:
    """The processes among the names of ``/proc`` that have not ended."""
    found = []
    for name in names:
        with suppress(OSError):
            if name.isdecimal():
                handle = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                try:
                    fields = os.read(handle, STAT_BYTES).rpartition(b")")[2].split(None, 20)
                finally:
                    os.close(handle)
                if fields[0] not in b"ZX":
                    found.append(_Running(int(name), int(fields[1]), int(fields[19])))
    return found


def _rank(pid: int) -> int | None:
    """The rank that a process was started as; ``None`` if it is none, or its time has not come."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        for variable in file.read().split(b"\0"):
            name, _, value = variable.partition(b"=")
            if name == b"RANK":
                return int(value)
    return None


def _id(identity: Identity) -> ProcessId:
    return ProcessId(identity.pid, identity.start_ticks)
