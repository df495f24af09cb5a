"""Files that matter are written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from gpuops.errors import GpuopsError


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never half of it.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    handle, temporary = -1, ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise GpuopsError(
            f"{path} cannot be written: {error.strerror}.",
            "Check the permissions and the free space of its folder.",
        ) from error


def write_json(path: Path, value: object) -> None:
    """Write JSON that a person can read, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def link(path: Path, target: str) -> None:
    """Make ``path`` a symbolic link to ``target``, unless something lies there already."""
    if not path.exists() and not path.is_symlink():
        path.symlink_to(target)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; ``None`` where there is none (yet), or half of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
