"""Files and folders that appear whole or not at all. Torch-free."""

from __future__ import annotations

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
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into; on leaving, it appears as ``path``.

    Raises TrainerError where it cannot be written, and where ``path`` holds something already.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise TrainerError(f"{path} is not empty", "give another --out")
    building = _beside(path)
    try:
        building.mkdir(parents=True)
        yield building
        building.replace(path)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def reason(error: OSError) -> str:
    """Why, in words; NumPy's own errors have no more than a text."""
    return error.strerror or str(error)


def _beside(path: Path) -> Path:
    name = f".{path.stem}.writing-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    return path.with_name(name)


def _refused(path: Path, error: OSError) -> TrainerError:
    return TrainerError(f"{path} cannot be written: {reason(error)}")
