"""Which process is meant: a pid may be given to another, a pid with its start time not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gpuops import reaper
from gpuops.system.files import read_json

ENDED = {"Z", "X"}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SETTLED_S = 3.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        found = reaper.identity(self.pid)
        return found is not None and found["start_ticks"] == self.start_ticks

    def send(self, number: int) -> None:
        """Signal this very process; nothing happens where it has gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except (OSError, OverflowError):  # gone; or a record that was touched by hand
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class Stat(NamedTuple):
    """A process at one moment. Its start outlives a change of program (``exec``), its name not."""

    state: str
    parent_pid: int
    start_ticks: int
    name: str


def stat(pid: int) -> Stat | None:
    """What the kernel says of a process; ``None`` of one that has ended."""
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(handle, 4096).decode(errors="replace")
        finally:
            os.close(handle)
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if fields[0] in ENDED:
        return None
    return Stat(fields[0], int(fields[1]), int(fields[19]), head.partition("(")[2])


def settled_before() -> float:
    """Who started before this tick is what it is; a younger one may be about to become another."""
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - SETTLED_S) * CLOCK_TICKS


def agent_identity(state_dir: Path) -> Identity | None:
    """The torchrun process of an attempt, from its record, if this is the boot it ran in."""
    record = read_json(state_dir / reaper.PROCESS)
    if not record or record.get("boot_id") != reaper.boot_id() or not record.get("agent"):
        return None
    return _identity(record["agent"])


def reaper_identity(state_dir: Path) -> Identity | None:
    """The reaper of an attempt, likewise."""
    record = read_json(state_dir / reaper.PROCESS)
    if not record or record.get("boot_id") != reaper.boot_id() or not record.get("reaper"):
        return None
    return _identity(record["reaper"])


def _identity(record: object) -> Identity | None:
    if not isinstance(record, dict):
        return None
    pid, ticks = record.get("pid"), record.get("start_ticks")
    return Identity(pid, ticks) if isinstance(pid, int) and isinstance(ticks, int) else None
