"""Files in a folder shared by all users, each held by the kernel lock of the process that made it.

A file appears in the folder written and locked, and is never locked again. So only a process of
its owner can hold it, no other user can write or replace it, and a file without a lock is a
leftover that its owner may remove. Its owner is the file's, whatever its content says.

Locks are open file description locks (fcntl(2)) for writing, which need write access. Another user
who can only read a file cannot take such a lock; a lock for reading hinders no process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import struct
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gpuops.errors import GpuopsError, UsageError
from gpuops.system import owners

VARIABLE = "GPUOPS_LEASE_DIR"
# Every user can write there, and it is not cleaned up; /tmp if only root can write the first.
# Named as in earlier versions, whose claims are seen too.
SHARED = ("/run/lock/gpuops", "/tmp/gpuops-leases")  # noqa: S108 - checked before it is used
EVERYBODY = 0o1777
LARGEST = 65536  # bytes: a ticket of 64 GPUs and the longest path of Linux, as JSON
MOST = 20_000  # files of a folder that are looked at: no host has so many jobs
UNCLAIMED = "GPUs cannot be claimed so that other users see it"
ABANDONED_S = 60.0  # a file that has not appeared by then never will
_FLOCK = "hhqqi"  # struct flock of 64-bit Linux
_DECIDING, _HELD = 0, 1  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A file that is held, or that is not what it should be and must be taken for held.

    ``deciding``: its process still looks whether others hold the same. ``order``: which of two
    that decide at once goes on. ``since_ns``: since when the file is as it is. ``unusable``: why
    it cannot be read as a lock, to continue "its lock ...".
    """

    path: Path
    uid: int
    order: tuple[int, int]
    since_ns: int
    deciding: bool = False
    unusable: str | None = None
    record: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the file is for."""
        return name_of(self.path)


@dataclass(frozen=True, slots=True)
class LockFile:
    """A file that this process holds, and the processes that inherit the descriptor."""

    path: Path
    descriptor: int

    @property
    def order(self) -> tuple[int, int]:
        """As other processes see it: ``Seen.order``."""
        return _order(os.fstat(self.descriptor))

    def decide(self) -> None:
        """Show that this process has looked, and keeps what it holds."""
        fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, _DECIDING, 1))

    def release(self) -> None:
        """Let go of it; remove the file unless another process inherited it."""
        os.close(self.descriptor)
        if look(self.path) is None:
            with contextlib.suppress(OSError):
                self.path.unlink()


def make(name: str, record: dict[str, object], *, whole: bool = False) -> LockFile:
    """Make a file that is held, and deciding; ``whole``: not if its record cannot be written.

    Raises:
        GpuopsError: it cannot be made.
    """
    place = folder()
    path = place / f"{name}.{os.geteuid()}.{os.urandom(8).hex()}.lock"
    hidden = path.with_name(f".{path.name}")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(hidden, flags, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, _DECIDING, 2))
            with contextlib.nullcontext() if whole else contextlib.suppress(OSError):
                _write(descriptor, json.dumps(record).encode())
            os.fchmod(descriptor, 0o644)  # all can read it, whatever the umask
            hidden.rename(path)
        except BaseException:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GpuopsError(
            f"the claim {path} cannot be made: {error.strerror}: nothing was started.",
            f"Look at its folder: `df {place}`; or set {VARIABLE} to a folder on this host "
            "that all users can write.",
        ) from error
    return LockFile(path, descriptor)


def look(path: Path) -> Seen | None:
    """What holds a file; ``None`` if it is not held."""
    try:
        found = path.lstat()
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = error.errno == errno.ELOOP
        return _unusable(path, "is a link" if link else f"cannot be opened: {error.strerror}")
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return _unusable(path, "is not a plain file")
        if not _is_locked(descriptor, _HELD):
            return None
        return Seen(
            path=path,
            uid=found.st_uid,
            order=_order(found),
            since_ns=found.st_ctime_ns,
            deciding=_is_locked(descriptor, _DECIDING),
            record=_parse(os.pread(descriptor, LARGEST, 0)),
        )
    except OSError as error:  # a network's file system without locks
        return _unusable(path, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def paths(*begins: str, everything: bool = False) -> list[Path]:
    """The files whose names begin so, held or not, of all folders that may be used.

    Of a folder with more than ``MOST`` files, those among the first, unless ``everything``.
    """
    most = None if everything else MOST
    return [path for place in places() for path in _listed(place, begins, most)]


def opened_by(pid: int) -> frozenset[tuple[int, int]]:
    """The files that a process has open, as ``Seen.order``; none if it does not show them."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - names are all it takes
            with contextlib.suppress(OSError):
                found.add(_order(os.stat(f"/proc/{pid}/fd/{name}")))  # noqa: PTH116 - a descriptor
    return frozenset(found)


def name_of(path: Path) -> str:
    """What a file is for: its name without owner and number."""
    return path.name.partition(".")[0]


def sweep(*begins: str) -> None:
    """Remove this user's files that no process holds any more."""
    for path in paths(*begins, *(f".{begin}" for begin in begins)):
        with contextlib.suppress(OSError):
            found = path.lstat()
            appears = path.name.startswith(".") and time.time() - found.st_mtime < ABANDONED_S
            ours = found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode)
            if ours and not appears and look(path) is None:
                path.unlink()


def keep_folder() -> int | None:
    """Keep the folder from cleaners of /tmp, which pass over a locked one, while this is open."""
    try:
        descriptor = os.open(folder(), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def why_none() -> str | None:
    """Why no claims can be made here; ``None`` if they can. It changes nothing."""
    problems = [_why_unfit(place) for place in places()]
    return f"{UNCLAIMED}: {problems[0]}" if all(problems) else None


def why_not_shared() -> str | None:
    """Why other users would not see claims made here, or could remove them; ``None`` if neither."""
    fit = [place for place in places() if not _why_unfit(place)]
    if not fit:
        return why_none()
    if unseen := next(filter(None, map(_why_unseen, places())), None):
        return unseen
    try:
        found = fit[0].stat()
    except OSError:  # it will be made, open to all
        return None
    mode = stat.S_IMODE(found.st_mode)
    if mode & EVERYBODY != EVERYBODY:
        return f"{UNCLAIMED}: {fit[0]} is not open to all (mode {mode:04o})"
    if not owners.is_trusted(fit[0]):
        user = owners.name(found.st_uid)
        return f"{fit[0]} belongs to {user}, who can remove all claims: `sudo chown root {fit[0]}`"
    return None


def folder() -> Path:
    """The folder of the locks, made if it is missing: for claims, not for reading.

    Raises:
        GpuopsError: no folder can be used.
        UsageError: the environment names a relative path.
    """
    problems: list[str] = []
    for place in places():
        problem = _why_unfit(place) or _make(place)
        if not problem:
            return place
        problems.append(problem)
    raise GpuopsError(
        f"{UNCLAIMED}: {problems[0]}.",
        f"`sudo install -d -m 1777 {places()[0]}` makes the folder; or name one that all users "
        f"of the host can write in {VARIABLE}.",
    )


def places() -> tuple[Path, ...]:
    """The folders that may hold locks: the first that can be used is written, all are read.

    Raises:
        UsageError: the environment names a relative path.
    """
    given = os.environ.get(VARIABLE)
    if given and not os.path.isabs(given):  # noqa: PTH117 - a word of the environment
        raise UsageError(
            f"{VARIABLE}={given} is a relative path: it depends on the current folder.",
            "Write the absolute path, the same for all users.",
        )
    return (Path(given),) if given else tuple(map(Path, SHARED))


def _make(place: Path) -> str:
    """Make a folder that all can write; return why it cannot be used, or an empty text."""
    before = os.umask(0)
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir(EVERYBODY)
    except OSError as error:
        return f"{place} cannot be made: {error.strerror}"
    finally:
        os.umask(before)
    return _why_unfit(place)  # another process may have made something else there


def _why_unfit(place: Path) -> str:
    """Why a folder cannot be used for claims; empty if it can be used or made."""
    try:
        seen = place.lstat()
    except FileNotFoundError:
        makeable = os.access(place.parent, os.W_OK | os.X_OK) and place.parent.is_dir()
        return "" if makeable else f"{place} cannot be made"
    except OSError as error:
        return f"{place} cannot be read: {error.strerror}"
    if not stat.S_ISDIR(seen.st_mode):
        return f"{place} is not a folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written"
    if seen.st_mode & stat.S_IWOTH and not seen.st_mode & stat.S_ISVTX:
        return f"in {place} all users can delete all files (its sticky bit is missing)"
    return ""


def _listed(place: Path, begins: tuple[str, ...], most: int | None) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in islice(entries, most)]
    except OSError:
        return []
    return [place / name for name in names if name.endswith(".lock") and name.startswith(begins)]


def _why_unseen(place: Path) -> str | None:
    """Why claims in a folder may not be seen."""
    if os.path.isdir(place) and not os.access(place, os.R_OK | os.X_OK):  # noqa: PTH112
        user = owners.other(place)
        return f"the claims in {place} cannot be seen{f': it belongs to {user}' if user else ''}"
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        if next(islice(entries, MOST, None), None) is not None:
            return f"{place} holds more than {MOST:,} files: not all claims in it are seen"
    return None


def _unusable(path: Path, why: str) -> Seen | None:
    """A file that must be taken for held; ``None`` if it has gone."""
    try:
        found = path.lstat()
    except OSError:
        return None
    what = "is a folder" if stat.S_ISDIR(found.st_mode) else why
    since_ns = found.st_ctime_ns
    return Seen(path=path, uid=found.st_uid, order=_order(found), since_ns=since_ns, unusable=what)


def _order(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_dev


def _lock(kind: int, start: int, length: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)


def _is_locked(descriptor: int, byte: int) -> bool:
    """Whether a process holds a byte for writing: a lock for reading would stand beside others."""
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_RDLCK, byte, 1))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _write(descriptor: int, data: bytes) -> None:
    if os.pwrite(descriptor, data, 0) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(data: bytes) -> dict[str, object]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
