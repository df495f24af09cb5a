"""Data sets as they lie on disk: counted by a trainer's layout, without reading them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from gpuops.core.node import DataCount
from gpuops.core.trainer import DataLayout
from gpuops.errors import GpuopsError

TELL_EVERY = 1000
MISSING = "is missing"
_READABLE_BY_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


def count(
    root: Path, layout: DataLayout, *, tell: Callable[[int], None] | None = None
) -> DataCount:
    """Count the samples of every split of a layout; ``tell`` hears now and then how many.

    A sample is judged by what ``stat`` says of its files: no file is opened, no list is kept.

    Raises:
        GpuopsError: the root is missing, not a folder, or empty.
    """
    folders = sorted(entry.name for entry in _entries(root) if _is_folder(entry))
    if not folders:
        raise GpuopsError(f"{root} holds no folders, so no data set.", "Check the path.")
    samples: dict[str, int] = {}
    incomplete: list[str] = []
    unreadable: list[str] = []
    seen = 0
    for split, names in layout.splits.items():
        there = next((name for name in names if name in folders), None)
        if there is None:
            continue
        samples[split] = 0
        for entry in _entries(root / there):
            if _is_folder(entry):
                fault = _fault(entry.path, layout.sample_files)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - many
                fault = "it is a link that leads nowhere"
            else:
                continue
            if fault is None:
                samples[split] += 1
            elif fault.endswith(MISSING):
                incomplete.append(_shown(f"{there}/{entry.name}"))
            else:
                unreadable.append(_shown(f"{there}/{entry.name}: {fault}"))
            seen += 1
            if tell is not None and seen % TELL_EVERY == 0:
                tell(seen)
    return DataCount(
        root=str(root),
        samples=samples,
        folders=tuple(_shown(name) for name in folders),
        incomplete=tuple(sorted(incomplete)),
        unreadable=tuple(sorted(unreadable)),
    )


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, one by one, in no order."""
    try:
        with os.scandir(root) as entries:
            yield from entries
    except FileNotFoundError as error:
        raise GpuopsError(f"there is no data set at {root}.", "Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "no path looks like that"
        raise GpuopsError(f"{root} cannot be read: {reason}.", "Check the path.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name[0] != "." and entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _fault(folder: str, names: list[str]) -> str | None:
    """What is wrong with the first of a sample's files that cannot be used."""
    for name in names:
        path = f"{folder}/{name}"
        try:
            found = os.stat(path)  # noqa: PTH116 - as often as there are samples
        except FileNotFoundError:
            nowhere = os.path.islink(path)  # noqa: PTH114
            return f"{name} {'is a link that leads nowhere' if nowhere else MISSING}"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if not stat.S_ISREG(found.st_mode):
            return f"{name} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no file'}"
        if not found.st_size:
            return f"{name} is empty"
        # Only where the mode leaves it open is the kernel asked who we are.
        if found.st_mode & _READABLE_BY_ALL != _READABLE_BY_ALL and not _may_read(path):
            return f"{name} cannot be read: permission denied"
    return None


def _may_read(path: str) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _shown(name: str) -> str:
    """A name that can be printed: one that is no UTF-8 has no other form."""
    return os.fsencode(name).decode(errors="backslashreplace")
