"""The state of a job's processes, as the kernel reports it, and the size of its folders."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gpuops.core.hang.observation import RankVitals
from gpuops.system.processes.identity import Identity, read_proc

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SHARE = 0.001  # of the time may be spent on measuring a folder
OVERDUE_S = 10.0


def read(ranks: Iterable[tuple[int, Identity]], *, with_io: bool = True) -> tuple[RankVitals, ...]:
    """Each rank's process now: in state X if it has gone, ``None`` for what is not shown."""
    return tuple(_vitals(rank, process, with_io=with_io) for rank, process in ranks)


def _vitals(rank: int, process: Identity, *, with_io: bool) -> RankVitals:
    pid = process.pid
    hidden = RankVitals(rank=rank, pid=pid, state=None, cpu_s=None, io_bytes=None)
    try:
        # A name may hold anything, but no other field holds a ")".
        fields = read_proc(pid, "stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return replace(hidden, state="X")
    except OSError:  # /proc hides the processes of other users
        return hidden
    if int(fields[19]) != process.start_ticks:
        return replace(hidden, state="X")
    return RankVitals(
        rank=rank,
        pid=pid,
        state=fields[0].decode(),
        cpu_s=(int(fields[11]) + int(fields[12])) * TICK_S,
        io_bytes=_io_bytes(pid) if with_io else None,
        memory_bytes=int(fields[21]) * PAGE_BYTES,
    )


def _io_bytes(pid: int) -> int | None:
    """All bytes read and written, and those that came from a disk through a memory map."""
    try:
        lines = read_proc(pid, "io").splitlines()
    except OSError:  # another user's, a kernel that does not count, or it has just ended
        return None
    counts = dict(line.split(b": ") for line in lines)
    return sum(int(counts.get(name, 0)) for name in (b"rchar", b"wchar", b"read_bytes"))


class FolderSize(contextlib.AbstractContextManager["FolderSize"]):
    """The bytes in a folder, measured again and again in a thread of its own.

    A file system that hangs does not block the caller. Measuring begins when ``bytes`` is first
    read, and takes at most a thousandth of the time, however many files there are.
    """

    def __init__(self, folder: Path, every_s: float = 1.0) -> None:
        self._folder = folder
        self._every_s = every_s
        self._size: int | None = None
        self._good_until_s = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End measuring; do not wait for that: it may hang."""
        self._closed.set()

    @property
    def bytes(self) -> int | None:
        """The newest measurement; ``None`` if there is none yet, or the next is overdue."""
        if self._thread is None:
            name = f"size of {self._folder}"
            self._thread = threading.Thread(target=self._measure, name=name, daemon=True)
            self._thread.start()
        return self._size if time.monotonic() < self._good_until_s else None

    def _measure(self) -> None:
        pause_s = 0.0
        while not self._closed.wait(pause_s):
            begin_s = time.monotonic()
            size = size_bytes(self._folder)
            end_s = time.monotonic()
            pause_s = max(self._every_s, (end_s - begin_s) / SHARE)
            self._size, self._good_until_s = size, end_s + pause_s + OVERDUE_S


def size_bytes(folder: Path) -> int | None:
    """The bytes in a folder and all below it that can be read, without following links.

    A folder that does not exist yet holds 0; ``None`` if it cannot be read.
    """
    total, root = 0, str(folder)
    folders = [root]
    while folders:
        path = folders.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        with contextlib.suppress(FileNotFoundError):  # just removed
                            total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
        except OSError:
            if path == root:
                return None
    return total
