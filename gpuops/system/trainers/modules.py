"""A trainer's own modules, run by an interpreter as a person would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from gpuops.system.resources import PACKAGE

# Python 3.11 on: a folder `trainers/` where somebody stands does not hide the installed one.
SAFE_PATH = {"PYTHONSAFEPATH": "1"}


def import_path(python: str) -> str | None:
    """What lets another interpreter than ours find the trainers of this checkout.

    Not of an installation: its folder holds all packages of ours, which are not built for others.
    """
    root = PACKAGE.parent
    if python == sys.executable or root.name in {"site-packages", "dist-packages"}:
        return None
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(root), *([before] if before else [])])


def environment(python: str) -> dict[str, str]:
    """The environment that a trainer's module runs in."""
    path = import_path(python)
    return {**os.environ, **SAFE_PATH, **({"PYTHONPATH": path} if path else {})}


def hand_over(
    python: str,
    module: str,
    arguments: Sequence[str],
    *,
    cwd: str | None = None,
    added: Mapping[str, str] | None = None,
) -> int:
    """Run a module in our place: its words and its exit code are ours."""
    command = [python, "-m", module, *arguments]
    try:
        child = subprocess.Popen(command, cwd=cwd, env={**environment(python), **(added or {})})
    except OSError as error:
        what = error.filename or python
        print(f"error: {what} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reached it as well: it cleans up, and ends in its own time
        return 128 - code if code < 0 else code
