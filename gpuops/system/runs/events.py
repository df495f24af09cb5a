"""What happened to a run, one event a line."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from gpuops.core.run import paths
from gpuops.system import files


def record(root: Path, event: str, **fields: object) -> None:
    """Append one event. A single small write: events of two writers never mix."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}).encode() + b"\n"
    with contextlib.suppress(OSError), (root / paths.EVENTS).open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"  # a crash or a full disk cut the line before
            line = b"\n" + line if torn else line
        file.write(line)


def read(root: Path) -> list[dict[str, Any]]:
    """All whole events of a run."""
    return files.read_json_lines(root / paths.EVENTS)


def was_watched(root: Path, attempt: int) -> bool:
    """Whether a supervisor saw an attempt end."""
    ends = ("attempt_ended", attempt)
    return any((event.get("event"), event.get("attempt")) == ends for event in read(root))
