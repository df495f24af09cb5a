"""The recording of a run, in its folder: ``telemetry.bin``. Its format: ``core.telemetry_file``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpuops.core import telemetry_file
from gpuops.core.telemetry import Recording, Sample, thinned
from gpuops.core.telemetry_file import Layout
from gpuops.errors import GpuopsError
from gpuops.system import files

NAME = "telemetry.bin"
PATIENCE_S = 60.0  # a disk that is full will hardly be empty a second later
LONGEST = 4 * telemetry_file.MOST_BYTES  # more is not ours


def read(root: Path) -> Recording:
    """All that can be read of a run's recording, also while it is written."""
    return telemetry_file.decode(_bytes(root / NAME))


class Recorder:
    """Adds samples to a run's recording, and goes on where one before it has stopped.

    A disk that is full, or a folder that was removed, costs samples: the job matters more.
    """

    def __init__(self, root: Path, cards: Sequence[int]) -> None:
        self._path = root / NAME
        self._cards = tuple(cards)
        self._layout: Layout | None = None
        self._due_s = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for a sample."""
        return time.monotonic() >= self._due_s

    def take(self, sample: Sample) -> None:
        """Record a sample."""
        try:
            layout = self._layout = self._layout or self._opened()
            if not self._added(sample, layout):
                whole = read(self._path.parent)
                whole = replace(whole, samples=(*whole.samples, sample))
                self._layout = self._written(whole, layout.cards)
        except (OSError, GpuopsError):
            self._layout = None  # what is there then is looked at anew
        every_s = self._layout.every_s if self._layout else PATIENCE_S
        self._due_s = time.monotonic() + every_s

    def _added(self, sample: Sample, layout: Layout) -> bool:
        """Append a row, if there is room for it."""
        with self._path.open("r+b", buffering=0) as file:
            rows = (file.seek(0, os.SEEK_END) - layout.header_bytes) // layout.row_bytes
            if not 0 <= rows < layout.most_rows:
                return False
            # Over half a row, where a crash or a full disk cut it.
            file.seek(layout.header_bytes + rows * layout.row_bytes)
            file.write(telemetry_file.row(sample, layout.cards))
            return True

    def _opened(self) -> Layout:
        """The layout of the file, which has a place for our cards now."""
        there = telemetry_file.layout(_bytes(self._path)) or Layout(cards=self._cards)
        cards = tuple(sorted({*there.cards, *self._cards}))
        return self._written(read(self._path.parent), cards)

    def _written(self, recording: Recording, cards: Sequence[int]) -> Layout:
        layout = Layout(every_s=recording.every_s, cards=tuple(cards))
        while len(recording.samples) >= layout.most_rows:
            recording = thinned(recording)
            layout = replace(layout, every_s=recording.every_s)
        files.write_bytes(self._path, telemetry_file.encode(recording, layout.cards))
        return layout


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST)
    except OSError:
        return b""
