"""Which process is meant: a pid is given again, a pid with its start time and boot is not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from gpuops import reaper
from gpuops.system.files import read_json

ENDED = {"Z", "X"}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SETTLED_S = 3.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good; of this boot of this host unless another one is named."""

    pid: int
    start_ticks: int
    host: str = field(default_factory=reaper.host)
    boot_id: str = field(default_factory=reaper.boot_id)

    @property
    def here(self) -> bool:
        """Whether it belongs to this boot of this host: its pid means nothing in another."""
        return self.boot_id == reaper.boot_id()

    @property
    def elsewhere(self) -> bool:
        """Whether it belongs to another host, which alone can tell whether it runs."""
        return not self.here and self.host != reaper.host()

    @property
    def alive(self) -> bool:
        """Whether this very process still runs here."""
        found = reaper.identity(self.pid) if self.here else None
        return found is not None and found["start_ticks"] == self.start_ticks

    def send(self, number: int) -> None:
        """Signal this very process; nothing happens if it has gone, or is not of this host."""
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
    """The torchrun process of an attempt, if it was started in this boot of this host."""
    return _of_this_boot(recorded(state_dir, "agent"))


def reaper_identity(state_dir: Path) -> Identity | None:
    """The reaper of an attempt, if it was started in this boot of this host."""
    return _of_this_boot(recorded(state_dir, "reaper"))


def recorded(state_dir: Path, process: Literal["agent", "reaper"]) -> Identity | None:
    """A process of an attempt as the reaper recorded it, on whichever host."""
    return parse((read_json(state_dir / reaper.PROCESS) or {}).get(process))


def parse(record: object) -> Identity | None:
    """An identity from JSON; ``None`` if it is not one."""
    if not isinstance(record, dict):
        return None
    pid, ticks, host, boot_id = map(record.get, ("pid", "start_ticks", "host", "boot_id"))
    if not (isinstance(pid, int) and isinstance(ticks, int)):
        return None
    if not (isinstance(host, str) and isinstance(boot_id, str)):
        return None
    return Identity(pid, ticks, host, boot_id)


def _of_this_boot(process: Identity | None) -> Identity | None:
    return process if process is not None and process.here else None
