"""Names a process for good: a pid is reused, a pid with its start time and boot is not."""

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
    """One process for good; by default of this boot of this host."""

    pid: int
    start_ticks: int
    host: str = field(default_factory=reaper.host)
    boot_id: str = field(default_factory=reaper.boot_id)

    @property
    def here(self) -> bool:
        """Whether it belongs to this boot of this host; elsewhere its pid means nothing."""
        return self.boot_id == reaper.boot_id()

    @property
    def elsewhere(self) -> bool:
        """Whether it belongs to another host: only that host knows whether it runs."""
        return not self.here and self.host != reaper.host()

    @property
    def alive(self) -> bool:
        """Whether this very process still runs here."""
        found = reaper.identity(self.pid) if self.here else None
        return found is not None and found["start_ticks"] == self.start_ticks

    def send(self, number: int) -> None:
        """Signal this very process; do nothing if it has gone or is on another host."""
        try:
            handle = os.pidfd_open(self.pid)
        except (OSError, OverflowError):  # gone; or a record edited by hand
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class Stat(NamedTuple):
    """A process at one moment. ``exec`` changes its name, but not its start."""

    state: str
    parent_pid: int
    start_ticks: int
    name: str


def stat(pid: int) -> Stat | None:
    """What the kernel reports of a process; ``None`` if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if fields[0] in ENDED:
        return None
    return Stat(fields[0], int(fields[1]), int(fields[19]), head.partition("(")[2])


def settled_before() -> float:
    """The start tick after which a process is young: it may be a fork about to ``exec``."""
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - SETTLED_S) * CLOCK_TICKS


def local(state_dir: Path, process: Literal["agent", "reaper"]) -> Identity | None:
    """A process of an attempt, torchrun or the reaper, if it was started here in this boot."""
    found = recorded(state_dir, process)
    return found if found is not None and found.here else None


def recorded(state_dir: Path, process: Literal["agent", "reaper"]) -> Identity | None:
    """A process of an attempt as the reaper recorded it, on any host."""
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
