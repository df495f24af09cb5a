"""The recording of a run, in its folder: ``telemetry.jsonl``, which a person can read too.

The first line says how many seconds samples are apart: ``{"every_s": 1.0}``. Each other line is a
sample, with the names of ``core.run.telemetry.Sample``; what was not available is left out.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gpuops.core.run.paths import TELEMETRY
from gpuops.core.run.record import LAST_S
from gpuops.core.run.telemetry import FIRST_S, MOST_SAMPLES, Recording, Sample, added
from gpuops.errors import GpuopsError
from gpuops.heartbeat import PHASES
from gpuops.system import files

PATIENCE_S = 60.0  # a disk that is full will hardly be empty a second later
LONGEST, MOST_GPUS = 16 * 1024**2, 64  # bytes, GPUs of a host; more is not ours

Value = TypeVar("Value")
_HEAD = TypeAdapter(Recording)
# Pydantic takes no settings for a dataclass alone, hence the `None`. JSON has no NaN or infinity.
_ROW: TypeAdapter[Sample | None] = TypeAdapter(
    Sample | None, config=ConfigDict(ser_json_inf_nan="strings")
)


def read(root: Path) -> Recording:
    """All that can be read of a run's recording, also while it is written."""
    try:
        with files.open_regular(root / TELEMETRY) as file:
            return decode(file.read(LONGEST))
    except OSError:
        return Recording()


def decode(data: bytes) -> Recording:
    """All whole rows of a file that make sense; a file of another kind holds none."""
    head, *lines = data.split(b"\n", MOST_SAMPLES + 1)
    every_s = (_parsed(_HEAD, head) or Recording()).every_s
    rows = [row for line in lines if (row := _parsed(_ROW, line)) and _makes_sense(row)]
    return Recording(
        every_s=every_s if FIRST_S <= every_s < math.inf else FIRST_S, samples=tuple(rows)
    )


def encode(recording: Recording) -> bytes:
    """A whole file."""
    head = _HEAD.dump_json(recording, exclude={"samples"}) + b"\n"
    return b"".join((head, *map(_row, recording.samples)))


class Recorder:
    """Adds samples to a run's recording, and goes on where one before it has stopped.

    A disk that is full, or a folder that was removed, costs samples: the job matters more.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._room = self._end = 0  # rows that still fit, if the file ends where we left it
        self._every_s, self._due_s = FIRST_S, 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for a sample."""
        return time.monotonic() >= self._due_s

    def take(self, sample: Sample) -> None:
        """Record a sample."""
        try:
            if not self._appended(_row(sample)):
                self._write(added(read(self._root), sample))
            wait_s = self._every_s
        except (OSError, GpuopsError):
            self._room, wait_s = 0, PATIENCE_S
        self._due_s = time.monotonic() + wait_s

    def _appended(self, row: bytes) -> bool:
        """Append a row, if there is room for it."""
        if not self._room:
            return False
        path = self._root / TELEMETRY
        with open(path, "r+b", buffering=0, opener=files.open_no_link) as file:
            if file.seek(0, os.SEEK_END) != self._end:
                return False  # a full disk cut our last row, or another program the file
            file.write(row)
        self._room -= 1
        self._end += len(row)
        return True

    def _write(self, recording: Recording) -> None:
        data = encode(recording)
        files.write_bytes(self._root / TELEMETRY, data)
        self._room = MOST_SAMPLES - len(recording.samples)
        self._end, self._every_s = len(data), recording.every_s


def _row(sample: Sample) -> bytes:
    return _ROW.dump_json(sample, exclude_none=True) + b"\n"


def _parsed(adapter: TypeAdapter[Value], line: bytes) -> Value | None:
    try:
        return adapter.validate_json(line)
    except ValidationError:
        return None


def _makes_sense(row: Sample) -> bool:
    known = 0 < row.at_s < LAST_S and row.attempt > 0 and row.phase in {None, *PHASES}
    return known and all(0 <= index < MOST_GPUS for index in row.gpus)
