"""Following files that grow."""

from __future__ import annotations

import os
from pathlib import Path

from gpuops.system import files

MAX_PARTIAL = 65536


class Tail:
    """The new whole lines of a file at each call; the file may not exist yet."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""
        if from_end and path.exists():
            self._offset = path.stat().st_size

    def lines(self, *, flush: bool = False) -> list[str]:
        """The lines written since the last call; with ``flush`` an unfinished last one too.

        A progress bar's line keeps only what a terminal would show: the text after its last CR.
        """
        try:
            with files.open_regular(self._path) as file:
                if self._offset > os.fstat(file.fileno()).st_size:  # replaced, or cut short
                    self._offset, self._partial = 0, b""
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        self._offset += len(data)
        *whole, rest = (self._partial + data).split(b"\n")
        self._partial = rest[-MAX_PARTIAL:]  # a progress bar rewrites its line for hours
        if flush and self._partial:
            whole.append(self._partial)
            self._partial = b""
        return [_shown(line) for line in whole]

    @property
    def partial(self) -> str:
        """The unfinished line as a terminal shows it: the text after the last CR."""
        return _shown(self._partial)


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
