"""Which Python, torch, CUDA and NCCL an interpreter has; cached until one of them changes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gpuops.core.machine.snapshot import Interpreter
from gpuops.errors import GpuopsError
from gpuops.system import files

PROBE_TIMEOUT_S = 30.0
KEPT = 32  # interpreters in the cache; the least recently used one is dropped
# The variables that decide which packages an interpreter finds.
VARIABLES = ("HOME", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")

# Runs in the other Python, which may be an old one. It prints the versions, and the files on which
# they depend: a package that is added, removed or changed changes one of these files.
_PROBE = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]  # the current one is not part of it
import importlib.util, json, os, platform, re
found = importlib.util.find_spec("torch")
torch = cuda = nccl = None
rests_on = [os.path.join(sys.prefix, "pyvenv.cfg")]
for folder in sys.path:
    rests_on.append(folder)
    if found and found.origin and os.path.dirname(os.path.dirname(found.origin)) == folder:
        break  # what comes later on the path cannot hide it
if found and found.origin:
    package = os.path.dirname(found.origin)
    version = os.path.join(package, "version.py")
    rests_on.append(version)
    try:
        with open(version) as file:
            text = file.read()
    except OSError:
        text = ""  # a broken torch counts as none
    torch = re.search(r"^__version__[^=]*= *['\\"]([^'\\"]+)", text, re.M)
    cuda = re.search(r"^cuda[^=]*= *['\\"]([^'\\"]+)", text, re.M)
    torch, cuda = torch and torch.group(1), cuda and cuda.group(1)
    for name in sorted(os.listdir(os.path.dirname(package))):
        wheel = re.match(r"nvidia_nccl_cu(\\d+)-(.+)\\.dist-info$", name)
        if wheel and cuda and cuda.split(".")[0] == wheel.group(1):
            nccl = wheel.group(2)
answer = {"python": platform.python_version(), "torch": torch, "cuda": cuda, "nccl": nccl}
answer["torch_folder"] = torch and package
print(json.dumps({"answer": answer, "rests_on": rests_on}))
"""


# Prints which part of a module's name it cannot find. Nothing of the module is imported.
_FIND = """
import importlib.util, sys
from importlib.machinery import PathFinder
name, *rest = sys.argv[1].split(".")
spec = importlib.util.find_spec(name)
while spec and (rest or spec.submodule_search_locations):
    name += "." + (rest.pop(0) if rest else "__main__")
    inside = spec.submodule_search_locations
    spec = PathFinder.find_spec(name, inside) if inside else None
if not spec:
    print(name)
"""


def find_missing(path: str, module: str, cwd: str, environment: Mapping[str, str]) -> str | None:
    """The module or package of a dotted name that an interpreter does not find; ``None`` if all.

    ``environment``: what is added to this process' own.
    """
    try:
        ran = subprocess.run(
            [path, "-c", _FIND, module],
            capture_output=True,
            check=True,
            timeout=PROBE_TIMEOUT_S,
            cwd=cwd,
            env={**os.environ, **environment},
            text=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # the launch will tell
        return None
    return ran.stdout.strip() or None


def read(path: str) -> Interpreter:
    """What an interpreter has, without importing torch there; ``None`` for what it does not have.

    The answer is kept in the user's cache folder. A cache that is broken or cannot be written costs
    time and nothing else.
    """
    cache = _cache()
    kept = (files.read_json(cache) if cache else None) or {}
    answer = _cached(kept.get(path))
    if answer is not None:
        return Interpreter(path=path, **answer)
    found = _probe(path)
    if found is None:
        return Interpreter(path=path, python=None, torch=None, cuda=None)
    answer, rests_on = found
    if cache is not None:
        kept.pop(path, None)
        kept[path] = {"answer": answer, "stamps": _stamps([path, *rests_on])}
        with contextlib.suppress(OSError, GpuopsError):
            cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.write_json(cache, dict(list(kept.items())[-KEPT:]))
    return Interpreter(path=path, **answer)


def _probe(path: str) -> tuple[dict[str, str | None], list[str]] | None:
    try:
        ran = subprocess.run(
            [path, "-c", _PROBE], capture_output=True, check=True, timeout=PROBE_TIMEOUT_S
        )
        found = json.loads(ran.stdout)
        answer, rests_on = _versions(found["answer"]), list(found["rests_on"])
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, LookupError):
        return None
    if answer is None or not all(isinstance(name, str) for name in rests_on):
        return None
    return answer, rests_on


def _cached(entry: Any) -> dict[str, str | None] | None:
    """A cached answer, if none of its files has changed."""
    if not isinstance(entry, dict) or not isinstance(entry.get("stamps"), dict):
        return None
    stamps = entry["stamps"]
    return _versions(entry.get("answer")) if stamps == _stamps(stamps) else None


def _versions(answer: Any) -> dict[str, str | None] | None:
    names = ("python", "torch", "cuda", "nccl", "torch_folder")
    if not isinstance(answer, dict) or not isinstance(answer.get("python"), str):
        return None
    found = {name: answer.get(name) for name in names}
    return found if all(isinstance(v, str | None) for v in found.values()) else None


def _stamps(names: Iterable[str]) -> dict[str, Any]:
    """A stamp for each file, which changes with the file, and the variables' values."""
    return {name: _stamp(name) for name in names} | {
        name: os.environ.get(name) for name in VARIABLES
    }


def _stamp(name: str) -> list[int] | None:
    """Size and times of a file; ctime too, since conda and rsync set back mtime."""
    try:
        status = os.stat(name)  # noqa: PTH116 - a name may hold what no path can
    except (OSError, ValueError):
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _cache() -> Path | None:
    """The cache file; ``None`` if the user has no home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):
        folder = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return folder / "gpuops" / "interpreters.json"
    return None
