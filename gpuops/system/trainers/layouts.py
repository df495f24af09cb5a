"""Whose data set is a folder? Told by the import that made it, or by its first files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import islice, product
from pathlib import Path

from gpuops.core.launch.manifest import DataSet, Manifest
from gpuops.system import files

IMPORT, TRAINER = "import.json", "GPUOPS_TRAINER"  # trainers.engine.importing knows both
FIRST = 100  # entries of a folder that are looked at: data sets have millions of files


def recognise(root: Path, trainers: Sequence[Manifest]) -> list[Manifest]:
    """The trainers whose data set a folder may be: the one that it was imported for, if it says."""
    imported_for = (files.read_json(root / IMPORT) or {}).get("trainer")
    named = [one for one in trainers if one.name == imported_for]
    return named or [one for one in trainers if one.data and _fits(root, one.data)]


def _fits(root: Path, data: DataSet) -> bool:
    patterns = [tuple(pattern.split("/")) for pattern in data.found_by]
    if data.layout is not None:
        folders = [name for names in data.layout.splits.values() for name in names]
        samples = product(folders, data.layout.sample_files)
        patterns += [(folder, "*", name) for folder, name in samples]
    return any(_has(root, pattern) for pattern in patterns)


def _has(folder: Path, pattern: tuple[str, ...]) -> bool:
    """Whether something below a folder fits, a name for each part; the first entries are tried."""
    first, *rest = pattern
    names = [first]
    if "*" in first:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, FIRST)]
        except (OSError, ValueError):
            return False
    found = (folder / name for name in names if fnmatchcase(name, first))
    return any(_has(path, tuple(rest)) if rest else files.exists(path) for path in found)
