"""The worker's side of supervision: report the step, without a system call.

Two lines in any script that gpuops launches::

    from gpuops import heartbeat
    heartbeat.beat(step=step, total_steps=total, loss=loss)

Without ``GPUOPS_BEAT_DIR`` in the environment (a script not launched by gpuops) it does nothing.
Standard library only: this is the only module of gpuops that a trainer may import.

Each rank owns one file, ``<GPUOPS_BEAT_DIR>/rank-<RANK>.beat``, of 192 bytes, little-endian,
written through a memory map. Other languages write it in the same way::

    offset   0   8 s   magic, "gpuops01"
    offset   8   u64   count of beats; beat n is in slot n % 2
    offset  64         slot 0
    offset 128         slot 1
    a slot:  i64 pid, i64 rank, i64 step, i64 total_steps, f64 loss, f64 data_wait,
             f64 CLOCK_MONOTONIC seconds, 8 s phase (ASCII, zero padded)
    -1 and NaN stand for "not given".

The writer fills the slot that is not the newest, then publishes it by raising the count. So a
reader never sees half a beat, not even of a writer that was stopped in the middle of one.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import struct
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

BEAT_DIR_VARIABLE = "GPUOPS_BEAT_DIR"
Phase = Literal["start", "cache", "train", "evaluate", "save", "done"]
PHASES: tuple[str, ...] = get_args(Phase)
MOST_RANKS = 4096  # of one host; more is not ours

_MAGIC = b"gpuops01"
_COUNT = struct.Struct("<Q")
_SLOT = struct.Struct("<qqqqddd8s")
_COUNT_OFFSET = 8
_SLOT_OFFSETS = (64, 128)
_SIZE = 192
_TRAIN = b"train".ljust(8, b"\0")


@dataclass(frozen=True)
class Beat:
    """The last beat of a rank. ``None`` means "not given".

    ``data_wait`` is the share (0 to 1) of the step that was spent waiting for data;
    ``monotonic_s`` is the time of the beat on CLOCK_MONOTONIC of the same boot. ``step_before`` is
    the step of the beat before this one, if its phase was not ``start``; ``step_s`` the seconds of
    a step between the two, if both were in ``train``.
    """

    pid: int
    rank: int
    step: int | None
    total_steps: int | None
    loss: float | None
    data_wait: float | None
    monotonic_s: float
    phase: str
    step_before: int | None = None
    step_s: float | None = None


class Slot:
    """One rank's beat file, open for writing."""

    def __init__(self, path: Path, rank: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never truncated: another process of this rank may have it mapped. Really allocated: a
        # hole on a full disk would only be noticed by a write, which ends the process (SIGBUS).
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(handle, 0, _SIZE)
            self._map = mmap.mmap(handle, _SIZE)
        finally:
            os.close(handle)
        _COUNT.pack_into(self._map, _COUNT_OFFSET, 0)
        self._map[: len(_MAGIC)] = _MAGIC
        self._pid = os.getpid()
        self._rank = rank
        self._count = 0

    def write(
        self,
        step: int | None,
        total_steps: int | None,
        loss: float | None,
        data_wait: float | None,
        phase: str,
    ) -> None:
        """Publish one beat."""
        count = self._count + 1
        _SLOT.pack_into(
            self._map,
            _SLOT_OFFSETS[count % 2],
            self._pid,
            self._rank,
            -1 if step is None else int(step),
            -1 if total_steps is None else int(total_steps),
            math.nan if loss is None else float(loss),
            math.nan if data_wait is None else float(data_wait),
            time.monotonic(),
            phase.encode("ascii", "replace")[:8],
        )
        _COUNT.pack_into(self._map, _COUNT_OFFSET, count)
        self._count = count


_slot: Slot | None = None
_opened = False


def _open() -> Slot | None:
    folder = os.environ.get(BEAT_DIR_VARIABLE)
    if not folder:
        return None
    try:
        rank = int(os.environ.get("RANK", "0"))
        return Slot(Path(folder) / f"rank-{rank}.beat", rank)
    except (OSError, ValueError) as error:
        # Training matters more than heartbeats: report it once and go on.
        print(f"gpuops: no heartbeats from this process: {error}", file=sys.stderr)
        return None


def beat(
    step: int | None = None,
    *,
    total_steps: int | None = None,
    loss: float | None = None,
    data_wait: float | None = None,
    phase: Phase = "train",
) -> None:
    """Report that this rank is alive, and its step; it takes a few microseconds."""
    global _slot, _opened  # noqa: PLW0603 - one process, one rank, one slot
    if not _opened:
        _slot, _opened = _open(), True
    if _slot is None:
        return
    try:
        _slot.write(step, total_steps, loss, data_wait, phase)
    except Exception as error:  # noqa: BLE001 - training matters more than heartbeats
        _slot = None
        print(f"gpuops: no more heartbeats from this process: {error}", file=sys.stderr)


def read(path: Path | str, of: Collection[int] | None = None) -> Beat | None:
    """Read the newest whole beat of a file; ``None`` if there is none yet.

    ``of``: the users to one of whom the file must belong.
    """
    data = _steady(path, of)
    if data is None or len(data) != _SIZE or not data.startswith(_MAGIC):
        return None
    (count,) = _COUNT.unpack_from(data, _COUNT_OFFSET)
    pid, rank, step, total, loss, wait, when, phase = _SLOT.unpack_from(
        data, _SLOT_OFFSETS[count % 2]
    )
    if count == 0 or not math.isfinite(when):
        return None
    # The writer may be filling this slot again: then its step is that of the next beat.
    older = _SLOT.unpack_from(data, _SLOT_OFFSETS[(count + 1) % 2])
    before, (when_before, phase_before) = older[2], older[-2:]
    known = count > 1 and 0 <= before <= step and not phase_before.startswith(b"start")
    trained = (
        known and before < step and phase == phase_before == _TRAIN and 0 <= when_before <= when
    )
    return Beat(
        pid=pid,
        rank=rank,
        step=None if step < 0 else step,
        total_steps=None if total < 0 else total,
        loss=None if math.isnan(loss) else loss,
        data_wait=None if math.isnan(wait) else wait,
        monotonic_s=when,
        phase=phase.rstrip(b"\0").decode("ascii", "replace"),
        step_before=before if known else None,
        step_s=(when - when_before) / (step - before) if trained else None,
    )


def _steady(path: Path | str, of: Collection[int] | None) -> bytes | None:
    """A beat file, read until it does not change meanwhile; ``None`` if it cannot be read."""
    try:  # a FIFO would wait, and a link could lead to a device
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or (of is not None and found.st_uid not in of):
            return None
        data = os.pread(handle, _SIZE + 1, 0)
        for _ in range(8):
            again = os.pread(handle, _SIZE + 1, 0)
            if data[: _SLOT_OFFSETS[0]] == again[: _SLOT_OFFSETS[0]]:
                return data
            data = again
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def read_all(folder: Path, of: Collection[int] | None = None) -> list[Beat]:
    """The newest beat of every rank that has beaten, by rank; ``of``: as for ``read``."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    found = (name for name in names if name.startswith("rank-") and name.endswith(".beat"))
    beats = [read(f"{folder}/{name}", of) for name in islice(found, MOST_RANKS)]
    return sorted((beat for beat in beats if beat is not None), key=lambda beat: beat.rank)
