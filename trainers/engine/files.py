"""Files and folders that appear whole or not at all. Torch-free."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, of the same suffix; on leaving, the file appears as ``path``.

    Several writers do not hinder each other: the last to end is the one that is found. Raises
    TrainerError where it cannot be written; then what was there before is still there.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(
    path: Path, *, replaces: str | None = None, hint: str = "give another --out"
) -> Iterator[Path]:
    """A folder to write into; on leaving, it appears as ``path``.

    What is there already is replaced where it has a file ``replaces``, by which an older one is
    known. Of several writers the first to end has it. Raises TrainerError where it cannot be
    written, or holds anything else (with ``hint``); then what was there is still there.
    """
    if path.name in ("", ".."):
        raise TrainerError(f"{path} is no folder that could be made", "give --out a name")
    building = _beside(path)
    try:
        older = _older(path, replaces, hint)
        building.mkdir(parents=True)
        yield building
        put_in_place(building, path, older=older)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def put_in_place(built: Path, path: Path, *, older: bool) -> None:
    """Rename a finished folder; where that fails, the older one stands there again."""
    aside = _beside(path)
    if older:
        path.rename(aside)
    try:
        built.rename(path)
    except BaseException as error:
        if older:
            aside.rename(path)
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise TrainerError(f"{path} was filled meanwhile", "give another --out") from None
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _older(path: Path, replaces: str | None, hint: str) -> bool:
    """Whether there is an older one to replace."""
    if path.exists() and not path.is_dir():
        raise TrainerError(f"{path} is a file", "give another --out")
    if not path.exists() or not any(path.iterdir()):
        return False
    if replaces is None:
        raise TrainerError(f"{path} is not empty", hint)
    if not (path / replaces).is_file():
        raise TrainerError(
            f"{path} has no {replaces}, so it is none made earlier, and is not replaced",
            "give another --out",
        )
    return True


def reason(error: OSError) -> str:
    """Why, in words; NumPy's own errors have no more than a text."""
    return error.strerror or str(error)


def _beside(path: Path) -> Path:
    name = f".{path.stem}.writing-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    return path.with_name(name)


def _refused(path: Path, error: OSError) -> TrainerError:
    return TrainerError(f"{path} cannot be written: {reason(error)}")
