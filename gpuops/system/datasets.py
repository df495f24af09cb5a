"""Data sets as they lie on disk: counted by a trainer's layout, without reading them."""

from __future__ import annotations

import os
from pathlib import Path

from gpuops.core.node import DataCount
from gpuops.core.trainer import DataLayout
from gpuops.errors import GpuopsError


def count(root: Path, layout: DataLayout) -> DataCount:
    """Count the samples of every split of a layout.

    Raises:
        GpuopsError: the root is missing, not a folder, or empty.
    """
    folders = _folders(root)
    samples: dict[str, int] = {}
    incomplete: list[str] = []
    for split, names in layout.splits.items():
        there = next((name for name in names if name in folders), None)
        if there is None:
            continue
        whole = 0
        for sample in _folders(root / there, may_be_empty=True):
            if _has_all(f"{root}/{there}/{sample}", layout.sample_files):
                whole += 1
            else:
                incomplete.append(f"{there}/{sample}")
        samples[split] = whole
    return DataCount(
        root=str(root),
        samples=samples,
        folders=tuple(folders),
        incomplete=tuple(incomplete),
    )


def _folders(root: Path, *, may_be_empty: bool = False) -> list[str]:
    try:
        folders = sorted(
            entry.name for entry in os.scandir(root) if _is_dir(entry) and entry.name[0] != "."
        )
    except FileNotFoundError as error:
        raise GpuopsError(f"there is no data set at {root}.", "Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "no path looks like that"
        raise GpuopsError(f"{root} cannot be read: {reason}.", "Check the path.") from error
    if not folders and not may_be_empty:
        raise GpuopsError(f"{root} holds no folders, so no data set.", "Check the path.")
    return folders


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _has_all(folder: str, names: list[str]) -> bool:
    return all(os.path.exists(f"{folder}/{name}") for name in names)  # noqa: PTH110 - 100,000 times
