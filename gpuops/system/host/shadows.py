"""Files that stand in for a module of Python or of torch, because they come first on the path."""

from __future__ import annotations

import os
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path

from gpuops.core.launch import torchrun
from gpuops.core.launch.plan import LaunchPlan

SAFE = "PYTHONSAFEPATH"
# torch, and what it imports itself if it is there.
PACKAGES = (
    "torch", "numpy", "triton", "cuda", "sympy", "mpmath", "networkx", "jinja2", "fsspec",
    "filelock", "packaging", "typing_extensions",
)  # fmt: skip


def first_folder(plan: LaunchPlan, python: str | None) -> str | None:
    """The folder that comes first on the path of the ranks: the script's, or the working directory.

    ``None`` if there is none: from Python 3.11 on a variable says so, and trainers have it set.
    ``python`` is the version that the ranks run in.
    """
    entry = Path(os.path.realpath(Path(plan.working_dir, plan.target.entry)))
    given = {**os.environ, **torchrun.environment(plan)}.get(SAFE)
    version = [int(part) for part in (python or "").split(".")[:2] if part.isdecimal()]
    if plan.options.machine_only or not version or (given and version >= [3, 11]):
        return None
    if plan.target.kind == "script":
        return str(entry if entry.is_dir() else entry.parent)
    return plan.working_dir


def find(folder: str) -> dict[str, str]:
    """The modules of which a program would get the folder's own file instead, and that file.

    Nothing is imported. A folder without ``__init__.py`` does not stand in for anything.
    """
    found: dict[str, str] = {}
    try:
        there = {name.partition(".")[0] for name in os.listdir(folder)}  # noqa: PTH208 - names only
    except OSError:
        return found
    for name in sorted(there & {*sys.stdlib_module_names, *PACKAGES}):
        # These are found before any file.
        if BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name):
            continue
        spec = PathFinder.find_spec(name, [folder])
        if spec is not None and spec.origin is not None:
            found[name] = spec.origin
    return found
