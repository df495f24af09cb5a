"""What happened to a run, one event a line."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from gpuops.core.launch.secrets import mask_words
from gpuops.core.run import paths
from gpuops.system import files, owners

LONGEST, MOST = 8 << 20, 20_000  # bytes, events; more only by a loop that ran wild
ENDING = 1 << 20  # bytes; how an attempt ended stands in the last of them


def record(root: Path, event: str, **fields: object) -> None:
    """Append one event. A single small write: events of two writers never mix."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}).encode() + b"\n"
    path = root / paths.EVENTS
    with (
        contextlib.suppress(OSError),
        open(path, "ab+", buffering=0, opener=files.open_no_link) as file,
    ):
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"  # a crash or a full disk cut the line before
            line = b"\n" + line if torn else line
        file.write(line)


def read(root: Path, most_bytes: int = LONGEST) -> list[dict[str, Any]]:
    """The whole events of a run; of very many, the newest. None from a file of another user.

    Those of older runs hold commands that are not masked.
    """
    believed = owners.believed(root)
    found = files.read_json_lines(root / paths.EVENTS, most_bytes, MOST, believed)
    for event in found:
        if isinstance(command := event.get("command"), list):
            event["command"] = mask_words(list(map(str, command)))
    return found


def last(root: Path, name: str) -> dict[str, Any] | None:
    """The last event of a name."""
    return next((one for one in reversed(read(root)) if one.get("event") == name), None)


def was_watched(root: Path, attempt: int) -> bool:
    """Whether a supervisor saw an attempt end."""
    ends = ("attempt_ended", attempt)
    return any((event.get("event"), event.get("attempt")) == ends for event in read(root))
