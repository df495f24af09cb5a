"""Trainers by entry point and manifest, read as text and never imported."""

from __future__ import annotations

import difflib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path

from gpuops.core.launch.manifest import Manifest, parse
from gpuops.core.launch.plan import Target
from gpuops.errors import UsageError
from gpuops.system import files
from gpuops.system.yaml_files import read_yaml

GROUP = "gpuops.trainers"


def names() -> list[str]:
    """The names of the installed trainers."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load(name: str) -> Manifest:
    """Read one trainer's manifest.

    Raises:
        UsageError: there is no such trainer, or its manifest is not valid.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            path = _folder(entry.value) / "trainer.yaml"
            return parse(read_yaml(path), str(path))
    raise _unknown(name)


def _folder(package: str) -> Path:
    """Where a package lies; only its topmost package is located, nothing is imported."""
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top)
    locations = list(spec.submodule_search_locations or []) if spec else []
    if not locations:
        raise UsageError(
            f"the trainer package {package} is not where its entry point says.",
            "Install it again: `pip install -e .`.",
        )
    return Path(locations[0], *inner)


def _unknown(name: str) -> UsageError:
    known = names()
    near = difflib.get_close_matches(name, known, n=1)
    return UsageError(
        f"there is no trainer {name!r}{f'; did you mean {near[0]}?' if near else '.'}",
        f"Trainers: {', '.join(known)}. A script is given by its path (./{name}.py), "
        f"a module with -m {name}.",
    )


def target(name: str | None, module: str | None) -> tuple[Target, Manifest | None]:
    """What the words on the command line mean: a trainer, a script, or a module.

    Raises:
        UsageError: they mean nothing.
    """
    if module is not None:
        if name in names():
            raise UsageError(
                f"{name} is a trainer and -m {module} a module: launch one of them.",
                f"What {module} is to be given stands after it: -m {module} -- {name}",
            )
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(
                f"{module} is no module's name.", "Modules are named as in `import a.b`."
            )
        return Target(kind="module", name=module.rsplit(".", 1)[-1], entry=module), None
    if name is None or name.startswith("-"):
        raise UsageError(
            f"say what to launch before {name}." if name else "say what to launch.",
            f"A trainer ({', '.join(names())}), a script (./train.py) or a module (-m my.module).",
        )
    path = Path(name)
    if path.suffix == ".py" or "/" in name:
        if not files.is_file(path):
            raise UsageError(f"there is no script {name}.", "Give the path of a Python file.")
        return Target(kind="script", name=path.stem, entry=str(path)), None
    manifest = load(name)
    return Target(kind="trainer", name=name, entry=manifest.train), manifest
