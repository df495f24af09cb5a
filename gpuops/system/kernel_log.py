"""What NVIDIA's driver wrote into the kernel's log: the Xid errors of each card."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gpuops.core.device import Xid

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192  # no record is longer
TEXT_LENGTH = 200

_MARK = b"NVRM: Xid ("
_RECORD = re.compile(
    r"\d+,\d+,(?P<microseconds>\d+),[^;]*;.*?"
    r"NVRM: Xid \((?:PCI:)?(?P<bus_id>[0-9A-Fa-f:.]+)[^)]*\): (?P<code>\d+),? *(?P<text>.*)"
)
_BUS_ID = re.compile(r"(?:([0-9a-f]+):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})(?:\.[0-7])?", re.IGNORECASE)


class KernelLog:
    """The kernel's log since boot, as far as it is still kept; each look takes up what is new.

    ``gap`` says why it cannot be read, where that is so.
    """

    def __init__(self, path: Path = KMSG) -> None:
        self.gap: str | None = None
        self._found: dict[str, list[Xid]] = {}
        self._rest = b""
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            self.gap = "this user may not read the kernel's log (`sudo dmesg | grep Xid` shows it)"
        except OSError as error:
            self.gap = f"the kernel's log cannot be read here: {error.strerror}"

    def xids(self) -> Mapping[str, tuple[Xid, ...]] | None:
        """The Xids of each card by its ``slot``, oldest first; ``None`` where there is a gap."""
        if self._file is None:
            return None
        booted_at_s = time.time() - time.monotonic()  # what the records' clock counts from
        for record in self._new_records(self._file):
            match = _RECORD.match(record.decode(errors="replace")) if _MARK in record else None
            if match is None or (card := slot(match["bus_id"])) is None:
                continue
            xid = Xid(
                code=int(match["code"]),
                at_s=booted_at_s + int(match["microseconds"]) / 1e6,
                text=match["text"][:TEXT_LENGTH],
            )
            self._found.setdefault(card, []).append(xid)
        return {card: tuple(found) for card, found in self._found.items()}

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _new_records(self, file: int) -> Iterator[bytes]:
        """Each read of the device is one record; of a file, as much as fits."""
        while True:
            try:
                piece = os.read(file, RECORD_BYTES)
            except BrokenPipeError:  # overwritten before it was read: the next one is there
                continue
            except OSError:  # none left for now
                return
            if not piece:
                return
            *records, self._rest = (self._rest + piece).split(b"\n")
            yield from records


def slot(bus_id: str) -> str | None:
    """A PCI address as /sys spells it, ``0000:c1:00.0``; ``None`` where it is none.

    NVML writes ``00000000:C1:00.0``, the kernel's log ``0000:c1:00``.
    """
    match = _BUS_ID.fullmatch(bus_id)
    if match is None:
        return None
    domain, bus, device = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"
