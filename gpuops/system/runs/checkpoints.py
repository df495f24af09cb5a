"""What can be told of checkpoints without reading them: checksums cost too much."""

from __future__ import annotations

import json
from pathlib import Path

MANIFEST = "checkpoint.json"  # as trainers.engine writes it


def list_checkpoints(folder: Path) -> list[tuple[str, str]]:
    """The checkpoints in a folder, oldest first, each with what points to it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    names: dict[str, list[str]] = {}
    for entry in entries:
        if entry.is_symlink():
            names.setdefault(entry.resolve().name, []).append(entry.name)
    kept = [entry.name for entry in entries if not entry.is_symlink()]
    return [(name, ", ".join(names.get(name, []))) for name in kept if not name.startswith(".")]


def aside(name: str) -> bool:
    """Whether this one was left aside when the run went back to an earlier one."""
    return name.startswith("aside-")


def damage(folder: Path) -> str | None:
    """What is missing: ``model.safetensors has 12 of 4,096 bytes``.

    ``None`` if nothing is, or if the folder of another trainer does not list what it holds.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        sizes = {str(name): int(of["bytes"]) for name, of in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    for name, size in sizes.items():
        try:
            there = (folder / name).stat().st_size
        except (OSError, ValueError):
            return f"{name} is missing"
        if there != size:
            return f"{name} has {there:,} of {size:,} bytes"
    return None
