"""Profiles as files: a given path, ./profiles, the user's folder, the shipped ones."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from gpuops.core.launch.profile import Profile, parse
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import files, owners
from gpuops.system.resources import shipped
from gpuops.system.yaml_files import parse_yaml, read_yaml

SUFFIXES = {".yaml", ".yml"}
HERE = Path("profiles")


def search_path() -> list[Path]:
    """The folders in which a profile's name is looked up; the first that has it wins."""
    config_home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - never raises
    return [HERE, Path(config_home) / "gpuops" / "profiles", shipped("profiles")]


def available() -> dict[str, Path]:
    """Every profile by its name."""
    return {name: paths[0] for name, paths in everywhere().items()}


def everywhere() -> dict[str, list[Path]]:
    """All files of each name: the first is used and hides the others."""
    found: dict[str, list[Path]] = {}
    folders: dict[str, Path] = {}
    for folder in search_path():  # in a checkout two of them are the same folder
        folders.setdefault(os.path.realpath(folder), folder)
    for folder in folders.values():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, []).append(path)
    return dict(sorted(found.items()))


def load(name_or_path: str) -> Profile:
    """Read a profile by name or path.

    Raises:
        UsageError: there is none, or it is not valid.
    """
    path = find(name_or_path)
    by_name = str(path) != name_or_path
    of = owners.trusted() if by_name and _is_from_here(path) else None
    return parse(read_yaml(path, of), str(path))


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a profile's text to a file atomically.

    Raises:
        UsageError: the text is not a profile, or the path already exists.
        GpuopsError: it cannot be written.
    """
    parse(parse_yaml(text, str(path)), str(path))
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is not a profile: its name must end in .yaml.")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path} already exists.", "`--overwrite` replaces it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GpuopsError(f"{path.parent} cannot be made: {error.strerror}.") from error
    files.write_text(path, text)


def find(name_or_path: str) -> Path:
    """The file of a profile.

    Raises:
        UsageError: there is none; lists those there are.
    """
    given = Path(name_or_path)
    if given.suffix in SUFFIXES or "/" in name_or_path:
        if files.is_file(given):
            return given
        raise UsageError(
            f"there is no profile file {name_or_path}.",
            "`gpuops profiles list` shows the profiles that have a name.",
        )
    profiles = available()
    if name_or_path in profiles:
        return _require_trusted(profiles[name_or_path])
    near = difflib.get_close_matches(name_or_path, profiles, n=1)
    raise UsageError(
        f"there is no profile {name_or_path!r}{f'; did you mean {near[0]}?' if near else '.'}",
        f"There are: {', '.join(profiles)}.",
    )


def _require_trusted(path: Path) -> Path:
    """Refuse a profile that another user has put into the current folder: it sets variables.

    Raises:
        UsageError: it is one of those.
    """
    if _is_from_here(path) and not owners.is_trusted(path):
        raise UsageError(
            f"{path} belongs to {owners.other(path)}, and is not used by its name.",
            f"`--profile {path}` uses it, if you trust it.",
        )
    return path


def _is_from_here(path: Path) -> bool:
    """Whether a profile was found in the current folder, and not in that of a checkout."""
    is_shipped = os.path.realpath(path.parent) == os.path.realpath(shipped("profiles"))
    return path.parent == HERE and not is_shipped
