"""The checkpoints of a run, listed without reading them: checksums cost too much."""

from __future__ import annotations

import os
from pathlib import Path

from gpuops.system import files

MANIFEST = "checkpoint.json"  # as trainers.engine writes it
MOST = 1000  # more would fill a screen for minutes


def list_checkpoints(folder: Path) -> list[tuple[str, str]]:
    """The checkpoints in a folder (the newest), oldest first, each with what points to it."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_symlink()) for entry in entries)
    except OSError:
        return []
    names: dict[str, list[str]] = {}
    for link in [name for name, is_link in found if is_link][:MOST]:
        # `resolve` raises for a link to itself before Python 3.13.
        target = Path(os.path.realpath(folder / link))
        names.setdefault(target.name, []).append(link)
    kept = [name for name, is_link in found if not is_link and not name.startswith(".")]
    return [(name, ", ".join(names.get(name, []))) for name in kept[-MOST:]]


def aside(name: str) -> bool:
    """Whether this one was left aside when the run went back to an earlier one."""
    return name.startswith("aside-")


def damage(folder: Path) -> str | None:
    """What is missing: ``model.safetensors has 12 of 4,096 bytes``.

    ``None`` if nothing is, or if the folder of another trainer does not list what it holds.
    """
    try:
        listed = (files.read_json(folder / MANIFEST) or {})["files"]
        sizes = {str(name): int(of["bytes"]) for name, of in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    for name, size in sizes.items():
        try:
            there = (folder / name).stat().st_size
        except (OSError, ValueError):
            return f"{name} is missing"
        if there != size:
            return f"{name} has {there:,} of {size:,} bytes"
    return None


def newest_step(folder: Path) -> int | None:
    """The step of the newest whole checkpoint whose name ends in one: ``step-00001000``."""
    names = [name for name, _ in list_checkpoints(folder) if not aside(name)]
    whole = (name.rpartition("-")[2] for name in names if damage(folder / name) is None)
    return max((int(one) for one in whole if one.isascii() and one.isdecimal()), default=None)
