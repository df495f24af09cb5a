"""Files and folders that appear whole or not at all, and JSON of any origin. Torch-free."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


STALE_S = 86_400.0  # a writer that has written nothing for a day is gone
LONGEST_JSON = 256 << 20  # bytes; more is not ours
UNFINISHED = ".unfinished-"  # begins the name of all that is being written, or removed


@contextmanager
def atomic(path: Path, *, older: bool = False) -> Iterator[Path]:
    """A path to write a file or a folder at, of the same suffix; on leaving, it is ``path``.

    A file replaces an older one; a folder does if there is an ``older`` one. Several writers do not
    hinder each other. Whatever fails, what was there before is still there, and nothing else is.
    Raises OSError.
    """
    unfinished = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if unfinished.is_dir() and not unfinished.is_symlink():
            put_in_place(unfinished, path, older=older)
        else:
            unfinished.replace(path)
    finally:
        discard(unfinished)


@contextmanager
def whole_file(path: Path, hint: str = "") -> Iterator[Path]:
    """The same for a file. Raises TrainerError (with ``hint``) if it cannot be written."""
    with _refusing(path, hint), atomic(path) as unfinished:
        yield unfinished


@contextmanager
def whole_folder(
    path: Path, *, replaces: str | None = None, hint: str = "give another --out"
) -> Iterator[Path]:
    """A folder to write into; on leaving, it appears as ``path``.

    What is there already is replaced if it has a file ``replaces``, by which an older one is known.
    Of several writers the first to end has it. Raises TrainerError if it cannot be written, or
    holds anything else (with ``hint``); then what was there is still there.
    """
    if path.name in ("", ".."):
        raise TrainerError(f"{path} is not a folder that can be made", "give --out a name")
    with _refusing(path), atomic(path, older=_older(path, replaces, hint)) as building:
        building.mkdir()
        yield building


def discard_stale(path: Path, older_s: float = STALE_S) -> None:
    """Remove what killed writers of ``path`` left beside it, if it is that many seconds old."""
    for left in path.parent.glob(f"{UNFINISHED}{path.stem}-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > older_s:
                discard(left)


def put_in_place(built: Path, path: Path, *, older: bool) -> None:
    """Rename a finished folder; if that fails, the older one stands there again."""
    aside = _beside(path)
    if older:
        path.rename(aside)
    try:
        built.rename(path)
    except BaseException:
        if older:
            aside.rename(path)
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
            f"{path} has no {replaces}, so it was not made by this command and is not replaced",
            "give another --out",
        )
    return True


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file to read. A pipe would wait for a writer for ever, a device may have no end.

    Raises OSError if it cannot be read or is not a regular file.
    """
    _refuse_irregular(path, os.stat(path))  # noqa: PTH116 - opening a device may already do something
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = os.fdopen(handle, "rb")
    try:
        _refuse_irregular(path, os.fstat(handle))  # it may have been replaced
    except OSError:
        file.close()
        raise
    return file


def _refuse_irregular(path: Path | str, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def dump_json(values: Any, indent: int | None = None) -> str:
    """Return values as JSON and the end of a line; null for a number that is not finite."""
    return json.dumps(_finite(values), indent=indent) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_json(path: Path, hint: str = "") -> Any:
    """Parse a JSON file of any origin.

    Raises:
        TrainerError: it cannot be read, is not a regular file (a pipe might never end) or not JSON.
    """
    try:
        with open_regular(path) as file:
            return json.loads(file.read(LONGEST_JSON))
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}", hint) from None
    except (ValueError, RecursionError):
        raise TrainerError(f"{path} is damaged: it is not JSON", hint) from None


def reason(error: Exception) -> str:
    """Return the reason as text; NumPy's own errors have no `strerror`."""
    return getattr(error, "strerror", None) or str(error)


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there, and as far as it can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    name = f"{UNFINISHED}{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    return path.with_name(name)


@contextmanager
def _refusing(path: Path, hint: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise TrainerError(f"{path} was filled meanwhile", "give another --out") from None
        raise TrainerError(f"{path} cannot be written: {reason(error)}", hint) from None
