"""Atomic writes, and reads that tolerate missing or broken files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gpuops.errors import GpuopsError

LONGEST_JSON, LONGEST_LINES = 64 << 20, 256 << 20  # bytes; more is not ours


def write_bytes(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    ``mode``: its permissions from the beginning, less those that the umask takes away.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        try:
            with open(temporary, "xb", opener=lambda name, how: os.open(name, how, mode)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GpuopsError(
            f"{path} cannot be written: {error.strerror}.",
            "Check the permissions and the free space of its folder.",
        ) from error


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write text atomically.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    # An argument that is not UTF-8 becomes \udcXX, which is also how JSON spells it.
    write_bytes(path, text.encode("utf-8", "backslashreplace"), mode=mode)


def sweep(folder: Path) -> None:
    """Remove half-written files of killed writers, in a folder that only the caller writes."""
    for left in folder.glob(f".*.{'[0-9a-f]' * 8}"):
        with contextlib.suppress(OSError):
            left.unlink()


def write_json(path: Path, value: object, *, mode: int = 0o666) -> None:
    """Write JSON that a person can read, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", mode=mode)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read. A FIFO would wait for a writer for ever, a device may have no end.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; ``None`` if it is missing, broken or far too long."""
    try:
        with open_regular(path) as file:
            value = json.loads(file.read(LONGEST_JSON).decode())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines, without a half-written last line."""
    return parse_json_lines(tail(path, LONGEST_LINES).split("\n"))


def parse_json_lines(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects among some lines."""
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def numbered(folder: Path, prefix: str) -> list[int]:
    """The numbers of the entries ``<prefix><number>`` of a folder."""
    try:
        names = [name.removeprefix(prefix) for name in os.listdir(folder)]  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def link(path: Path, target: str) -> None:
    """Make ``path`` a symbolic link to ``target``, unless it already exists."""
    if not os.path.lexists(path):
        path.symlink_to(target)


def is_file(path: Path) -> bool:
    """Whether there is a file; no for names too long and unreadable folders.

    ``Path.is_file`` raises for those before Python 3.12.
    """
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path) -> bool:
    """Whether the path exists; no for names too long and unreadable folders."""
    return os.path.exists(path)  # noqa: PTH110


def tail(path: Path, most_bytes: int = 64_000) -> str:
    """The end of a text file; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most_bytes))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
