"""The modules of a trainer, run by an interpreter as a user would run them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuops import run_module
from gpuops.errors import GpuopsError
from gpuops.system.resources import PACKAGE

INSTALLED = {"site-packages", "dist-packages"}


def package_folder(package: str) -> Path | None:
    """The folder of a package; only its topmost package is located, and nothing is imported."""
    top, *inner = package.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # what an entry point names need not be a package
        return None
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0], *inner) if locations else None


def import_path(python: str, module: str | None = None) -> str | None:
    """The ``PYTHONPATH`` by which another interpreter finds gpuops and a trainer's module.

    ``None`` if it needs none. A folder of installed packages is left out: it holds all packages of
    our interpreter, which may not work in another one.
    """
    if python == sys.executable:
        return None
    package = package_folder(module.partition(".")[0]) if module else None
    roots = [PACKAGE.parent, *([package.parent] if package else [])]
    paths = dict.fromkeys(str(root) for root in roots if root.name not in INSTALLED)
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*paths, *([before] if before else [])]) if paths else None


def environment(python: str, module: str) -> dict[str, str]:
    """The environment that a trainer's module runs in.

    What it starts with ``-m`` or ``-c`` does not import from the working directory either, from
    Python 3.11 on.
    """
    path = import_path(python, module)
    return {**os.environ, "PYTHONSAFEPATH": "1", **({"PYTHONPATH": path} if path else {})}


def run(
    python: str, module: str, arguments: Sequence[str], cwd: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a module to its end, and keep its output.

    Raises:
        OSError: the interpreter does not run.
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    return subprocess.run(
        [python, run_module.__file__, module, *arguments],
        cwd=cwd,
        env=environment(python, module),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def hand_over(
    python: str, module: str, arguments: Sequence[str], *, added: Mapping[str, str] | None = None
) -> int:
    """Run a module in our place: its output and its exit code are ours.

    Raises:
        GpuopsError: the interpreter cannot be started.
    """
    command = [python, run_module.__file__, module, *arguments]
    variables = {**environment(python, module), **(added or {})}
    try:
        child = subprocess.Popen(command, env=variables)
    except OSError as error:
        what = error.filename or python
        raise GpuopsError(f"{what} cannot be started: {error.strerror}.") from error
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue  # Ctrl-C reached it as well: it cleans up, and ends in its own time
        return 128 - code if code < 0 else code
