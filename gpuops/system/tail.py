"""Following files that grow."""

from __future__ import annotations

import os
from pathlib import Path

from gpuops.system import files

MAX_PARTIAL = 65536
LONGEST, MOST_LINES = 16 << 20, 100_000  # of one look: of more, only the end is read


class Tail:
    """The new whole lines of a file at each call; the file may not exist yet.

    ``errors``: how bytes that are not UTF-8 are decoded. ``left_out``: whether lines were passed
    over, since there were too many at once.
    """

    def __init__(self, path: Path, *, from_end: bool = False, errors: str = "replace") -> None:
        self._path, self._errors = path, errors
        self._offset = (files.size(path) or 0) if from_end else 0
        self._partial = b""
        self.left_out = False

    def lines(self, *, flush: bool = False) -> list[str]:
        """The lines written since the last call; with ``flush`` an unfinished last one too.

        A progress bar's line keeps only what a terminal would show: the text after its last CR.
        """
        data = b""
        if files.size(self._path) != self._offset:  # most calls find nothing new
            try:
                data = self._read()
            except OSError:
                return []
        *whole, rest = (self._partial + data).rsplit(b"\n", MOST_LINES)
        if len(whole) == MOST_LINES and b"\n" in whole[0]:
            self.left_out, whole[0] = True, whole[0].rpartition(b"\n")[2]
        self._partial = rest[-MAX_PARTIAL:]  # a progress bar rewrites its line for hours
        if flush and self._partial:
            whole.append(self._partial)
            self._partial = b""
        return [self._shown(line) for line in whole]

    def _read(self) -> bytes:
        with files.open_regular(self._path) as file:
            size = os.fstat(file.fileno()).st_size
            if self._offset > size:  # replaced, or cut short
                self._offset, self._partial = 0, b""
            if size - self._offset > LONGEST:
                self._offset, self._partial, self.left_out = size - LONGEST, b"", True
            file.seek(self._offset)
            data = file.read(size - self._offset)
        self._offset += len(data)
        return data

    @property
    def partial(self) -> str:
        """The unfinished line as a terminal shows it: the text after the last CR."""
        return self._shown(self._partial)

    def _shown(self, line: bytes) -> str:
        return line.decode("utf-8", self._errors).rstrip("\r").rpartition("\r")[2]
