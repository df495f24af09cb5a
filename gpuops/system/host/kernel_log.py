"""The kernel's log: the Xid errors of each GPU, and the processes killed when memory ran out."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpuops.core.machine.device import Xid
from gpuops.core.machine.oom_kills import OomKill

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192  # no record is longer
TEXT_LENGTH = 200
MOST_XIDS = 200  # per GPU, the newest: a dying GPU logs without end

_RECORD = re.compile(r"\d+,\d+,(?P<microseconds>\d+),[^;]*;(?P<text>.*)")
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?P<bus_id>[0-9A-Fa-f:.]+)[^)]*\): (?P<code>\d+),? *(?P<text>.*)"
)
# A kill has several lines; a process can choose its name, but not the text around it.
_OOM_KILL = re.compile(
    r"(?:(?:Memory cgroup out|Out) of memory[^:]*: )?Kill(?:ed)? process (?P<pid>\d+) "
    r"|oom-kill:.*,pid=(?P<victim>\d+),uid=\d+$"
)
_BUS_ID = re.compile(r"(?:([0-9a-f]+):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})(?:\.[0-7])?", re.IGNORECASE)


class KernelLog:
    """The kernel's log since boot, as far as it is still kept; each call reads the new records.

    ``gap``: why it cannot be read, if it cannot.
    """

    def __init__(self, path: Path = KMSG) -> None:
        self.gap: str | None = None
        self._xids: dict[str, deque[Xid]] = {}
        self._oom_kills: dict[int, OomKill] = {}
        self._begins_s: float | None = None
        self._rest = b""
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            self.gap = "this user may not read the kernel's log (`sudo dmesg | grep Xid` shows it)"
        except OSError as error:
            self.gap = f"the kernel's log cannot be read here: {error.strerror}"

    def xids(self) -> Mapping[str, tuple[Xid, ...]] | None:
        """The Xids of each GPU by its ``slot``, oldest first; ``None`` if there is a gap."""
        self._take_up()
        known = {gpu: tuple(found) for gpu, found in self._xids.items()}
        return None if self._file is None else known

    def oom_kills(self) -> tuple[OomKill, ...]:
        """The processes that the kernel killed when memory ran out, with the host's pids."""
        self._take_up()
        return tuple(self._oom_kills.values())

    def reaches(self, since_s: float) -> bool:
        """Whether all records since then are still kept: the log is a ring."""
        self._take_up()
        return self._begins_s is not None and self._begins_s <= since_s

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take_up(self) -> None:
        """Read and sort the new records."""
        # Like the records' clock, this one is not adjusted and counts from boot.
        booted_at_s = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        for line in self._new_records():
            record = _RECORD.match(line.decode(errors="replace"))
            if record is None:
                continue
            at_s = booted_at_s + int(record["microseconds"]) / 1e6
            if self._begins_s is None:
                self._begins_s = at_s
            text = record["text"]
            if (xid := _XID.search(text)) and (gpu := slot(xid["bus_id"])):
                found = Xid(code=int(xid["code"]), at_s=at_s, text=xid["text"][:TEXT_LENGTH])
                self._xids.setdefault(gpu, deque(maxlen=MOST_XIDS)).append(found)
            elif kill := _OOM_KILL.match(text):
                pid = int(kill["pid"] or kill["victim"])
                self._oom_kills[pid] = OomKill(pid=pid, at_s=at_s, text=text[:TEXT_LENGTH])

    def _new_records(self) -> Iterator[bytes]:
        """Each read of the device is one record; a read of a file takes as much as fits."""
        while self._file is not None:
            try:
                piece = os.read(self._file, RECORD_BYTES)
            except BrokenPipeError:  # overwritten before it was read: go on with the next
                continue
            except OSError:  # none left for now
                return
            if not piece:
                return
            *records, self._rest = (self._rest + piece).split(b"\n")
            yield from records


def slot(bus_id: str) -> str | None:
    """A PCI address as /sys spells it, ``0000:c1:00.0``; ``None`` if it is not one.

    NVML writes ``00000000:C1:00.0``, the kernel's log ``0000:c1:00``.
    """
    match = _BUS_ID.fullmatch(bus_id)
    if match is None:
        return None
    domain, bus, device = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"
