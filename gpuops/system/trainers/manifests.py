"""Trainers by entry point and manifest, read as text and never imported."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from gpuops.core.launch.manifest import Manifest, parse
from gpuops.core.launch.plan import Target
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import files
from gpuops.system.trainers import layouts
from gpuops.system.trainers.modules import package_folder
from gpuops.system.yaml_files import read_yaml

T = TypeVar("T")
GROUP = "gpuops.trainers"
LIST_HINT = "`gpuops trainers list` shows what each trainer can do."


def names() -> list[str]:
    """The names of the installed trainers."""
    return list(_installed())


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def load(name: str) -> Manifest:
    """Read one trainer's manifest.

    Raises:
        UsageError: there is no such trainer, or its manifest is not valid.
    """
    installed = _installed()
    if name in installed:
        return _read(installed[name])
    near = difflib.get_close_matches(name, installed, n=1)
    raise UsageError(
        f"there is no trainer {name!r}{f'; did you mean {near[0]}?' if near else '.'}",
        f"Trainers: {', '.join(installed)}. A script is given by its path (./{name}.py), "
        f"a module with -m {name}.",
    )


def load_all(
    on_problem: Callable[[str, GpuopsError], None] = lambda _name, _problem: None,
) -> list[Manifest]:
    """The manifests of all installed trainers; ``on_problem`` gets those that cannot be read."""
    found = []
    for name, entry in _installed().items():
        try:
            found.append(_read(entry))
        except GpuopsError as problem:
            on_problem(name, problem)
    return found


def choose(
    name: str | None,
    task: str,
    ability: Callable[[Manifest], T | None],
    *,
    data: Path | None = None,
) -> tuple[Manifest, T]:
    """The trainer for a task like ``count data sets``, and what its manifest says of that.

    It is the trainer named, or the only one able to; of several the only one whose data set the
    folder ``data`` is.

    Raises:
        UsageError: no trainer is able to, or several are and none is named.
    """
    asked = load_all() if name is None else [load(name)]
    able = [(one, found) for one in asked if (found := ability(one)) is not None]
    if len(able) > 1 and data is not None:
        fits = {one.name for one in layouts.recognise(data, [one for one, _ in able])}
        able = [one for one in able if one[0].name in fits] or able
    if len(able) == 1:
        return able[0]
    if able:
        those = [one.name for one, _ in able]
        raise UsageError(
            f"several trainers {task}: {', '.join(those)}.",
            f"Say which one, with `--trainer {those[0]}` for example.",
        )
    if len(asked) == 1:
        raise UsageError(f"trainer {asked[0].name} does not {task}.", LIST_HINT)
    raise UsageError(f"none of the installed trainers can {task}.", LIST_HINT)


def _read(entry: EntryPoint) -> Manifest:
    folder = package_folder(entry.value)
    if folder is None:
        raise UsageError(
            f"the trainer package {entry.value} is not where its entry point says.",
            "Install it again: `pip install -e .`.",
        )
    path = folder / "trainer.yaml"
    return parse(read_yaml(path), str(path))


def target(name: str | None, module: str | None) -> tuple[Target, Manifest | None]:
    """What the words on the command line mean: a trainer, a script, or a module.

    Raises:
        UsageError: they mean nothing.
    """
    if module is not None:
        if name in names():
            raise UsageError(
                f"{name} is a trainer and -m {module} a module: launch one of them.",
                f"Arguments of {module} follow it: -m {module} -- {name}",
            )
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(
                f"{module} is not the name of a module.", "Modules are named as in `import a.b`."
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
