"""Atomic writes, and reads that tolerate missing or broken files."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gpuops.errors import GpuopsError

# More than this is not ours: bytes, lines, levels of JSON, digits (more are no float), names.
LONGEST_JSON, LONGEST_LINES = 1 << 20, 64 << 20
LONGEST_RECORD = 4096  # of a process, or of its end
ENOUGH = 4 << 20  # of many files, to answer soon
MOST_LINES, DEEPEST, MOST_DIGITS = 200_000, 64, 100
MOST_NUMBERED, LARGEST_NUMBER = 1000, 10**9


def write_bytes(path: Path, data: bytes, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    ``mode``: its permissions from the beginning, less those that the umask takes away. Without
    ``sync`` it may be lost if the host crashes.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        try:
            with open(temporary, "xb", opener=lambda name, how: os.open(name, how, mode)) as file:
                file.write(data)
                file.flush()
                if sync:
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


def write_text(path: Path, text: str, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write text atomically.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    # An argument that is not UTF-8 becomes \udcXX, which is also how JSON spells it.
    write_bytes(path, text.encode("utf-8", "backslashreplace"), mode=mode, sync=sync)


def sweep(folder: Path) -> None:
    """Remove half-written files of killed writers, in a folder that only the caller writes."""
    for left in folder.glob(f".*.{'[0-9a-f]' * 8}"):
        with contextlib.suppress(OSError):
            left.unlink()


def write_json(path: Path, value: object, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write JSON that a person can read, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text, mode=mode, sync=sync)


def open_regular(
    path: Path, of: Collection[int] | None = None, *, follow: bool = False
) -> BinaryIO:
    """Open a file to read. A FIFO would wait for a writer for ever, a device may have no end.

    ``of``: the users to one of whom the opened file must belong, whatever its name led to before;
    a link is refused then unless ``follow``.

    Raises:
        OSError: it cannot be opened, is not a regular file, or is another user's.
    """
    no_link = 0 if of is None or follow else os.O_NOFOLLOW
    try:
        _refuse_irregular(path, os.stat(path))  # noqa: PTH116 - opening a device may already do something
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | no_link)
    except ValueError as error:  # a name with a NUL
        raise OSError(errno.EINVAL, "it has no possible name", repr(path)) from error
    try:
        found = os.fstat(handle)  # it may have been replaced
        _refuse_irregular(path, found)
        if of is not None and found.st_uid not in of:
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def open_no_link(path: str, flags: int) -> int:
    """An opener for a file that is written on: another user may have made a link of its name."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _refuse_irregular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_json(
    path: Path, most_bytes: int = LONGEST_JSON, of: Collection[int] | None = None
) -> dict[str, Any] | None:
    """A JSON object from a file; ``None`` if it is missing, broken, far too long or too deep.

    A number that no program of ours writes is ``None``: it is infinite, or has too many digits.
    ``of``: as for ``open_regular``.
    """
    try:
        with open_regular(path, of) as file:
            value = _parse(file.read(most_bytes).decode())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json_lines(
    path: Path,
    most_bytes: int = LONGEST_LINES,
    most_lines: int = MOST_LINES,
    of: Collection[int] | None = None,
) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines, without a half-written last line.

    Of a longer file, those of its end. ``of``: as for ``open_regular``.
    """
    return parse_json_lines(tail(path, most_bytes, of).rsplit("\n", most_lines))


def parse_json_lines(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects among some lines, with numbers as in ``read_json``."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if not line.lstrip().startswith("{"):  # millions of other lines would take seconds
            continue
        try:
            value = _parse(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _parse(text: str) -> object:
    """A value from JSON.

    Raises:
        ValueError: it is not JSON, or nested so deeply that showing it would fail.
    """
    value = _DECODER.decode(text)
    if text.count("[") + text.count("{") > DEEPEST and not _is_flat(value):
        raise ValueError("it is nested too deeply")
    return value


def _is_flat(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        nested = [one for one in level if isinstance(one, (dict, list))]
        level = [item for one in nested for item in (one.values() if type(one) is dict else one)]
        if not level:
            return True
    return False


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _parse_int(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None


_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_int=_parse_int, parse_constant=lambda _: None
)


def affordable(paths: Iterable[Path], most_bytes: int = ENOUGH) -> Iterator[Path]:
    """The first of some files of JSON: as many as can be read soon."""
    for path in paths:
        most_bytes -= min(max(size(path) or 0, LONGEST_RECORD), LONGEST_JSON)
        if most_bytes < 0:
            return
        yield path


def numbered(folder: Path, prefix: str) -> list[int]:
    """The numbers of the entries ``<prefix><number>`` of a folder; of too many, the largest."""
    try:
        names = [name.removeprefix(prefix) for name in os.listdir(folder)]  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    numbers = (int(name) for name in names if name.isascii() and name.isdecimal())
    return sorted(number for number in numbers if number < LARGEST_NUMBER)[-MOST_NUMBERED:]


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


def tail(path: Path, most_bytes: int = 64_000, of: Collection[int] | None = None) -> str:
    """The end of a text file; empty if it cannot be read. ``of``: as for ``open_regular``."""
    try:
        with open_regular(path, of) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most_bytes))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def size(path: Path) -> int | None:
    """How many bytes a file has; ``None`` if there is none, or its folder cannot be read."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - Path.stat raises the same, only more of it
    except (OSError, ValueError):
        return None
