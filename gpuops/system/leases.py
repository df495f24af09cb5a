"""A lock per GPU and port, visible to all gpuops users of the host, released by the kernel.

The locks are open file description locks (fcntl(2)), a file each, in a folder that all users can
write. A launch passes the descriptor to the reaper, so the lock lasts as long as the job. Whether a
lock is held is asked of the kernel, without taking it; the content of its file is only shown.
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
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from gpuops.core.launch.queue import Ticket
from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import owners
from gpuops.text import printable

VARIABLE = "GPUOPS_LEASE_DIR"
# Every user can write there, and it is not cleaned up; /tmp if only root can write the first.
SHARED = ("/run/lock/gpuops", "/tmp/gpuops-leases")  # noqa: S108 - checked before it is used
EVERYBODY = 0o1777
# A ticket of 64 GPUs and the longest path of Linux, as JSON.
LARGEST = 65536
# The text fields of a holder's record, and how many letters of each are shown.
LENGTHS = {"run_id": 100, "user": 100, "run_dir": 1000}
LARGEST_PID = 2**22  # that Linux gives
DAY_S = 86400
UNCLAIMED = "GPUs cannot be claimed so that other users see it"
_FLOCK = "hhqqi"  # struct flock of 64-bit Linux
_WRITE_LOCK = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class TakenError(GpuopsError):
    """Another launch claimed it after it was seen free: choose again."""


def gpu(uuid: str) -> str:
    """The name of the claim on a GPU."""
    return f"gpu-{uuid}"


def port(number: int) -> str:
    """The name of the claim on a port."""
    return f"port-{number}"


@contextlib.contextmanager
def acquire(things: Iterable[str], claim: Claim) -> Iterator[tuple[int, ...]]:
    """Claim GPUs and ports, all or none; release them at the end unless a process inherited them.

    Yields the locks, as descriptors to pass on.

    Raises:
        TakenError: one of them is claimed by another launch.
        GpuopsError: the claims cannot be made here.
    """
    with contextlib.ExitStack() as stack:
        descriptors: list[int] = []
        for thing in sorted(things):  # in a fixed order: of two launches, one succeeds
            path = folder() / f"{thing}.lock"
            descriptor = _open(path)
            stack.callback(os.close, descriptor)
            if not _lock(descriptor, path):
                raise TakenError(
                    f"{thing} was claimed a moment ago.", "`gpuops gpus` shows by whom."
                )
            with contextlib.suppress(OSError):  # full disk: the lock holds without its record
                _write(descriptor, asdict(claim))
            descriptors.append(descriptor)
        if descriptors:  # cleaners of /tmp skip a locked folder
            descriptors.append(os.open(folder(), os.O_RDONLY | os.O_CLOEXEC))
            stack.callback(os.close, descriptors[-1])
            with contextlib.suppress(OSError):
                fcntl.flock(descriptors[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield tuple(descriptors)


def holders() -> dict[str, Claim]:
    """The current claims, by name."""
    return {name: _parse_claim(record) for name, record in _held("gpu-", "port-")}


def why_none() -> str | None:
    """Why no claims can be made here; ``None`` if they can. It changes nothing."""
    problems = [_why_unfit(place) for place in _places()]
    return f"{UNCLAIMED}: {problems[0]}" if all(problems) else None


def why_not_shared() -> str | None:
    """Why other users would not see claims made here; ``None`` if they would."""
    fit = [place for place in _places() if not _why_unfit(place)]
    if not fit:
        return why_none()
    try:
        mode = stat.S_IMODE(fit[0].stat().st_mode)
    except OSError:  # it will be made, open to all
        return None
    open_to_all = mode & EVERYBODY == EVERYBODY
    return None if open_to_all else f"{UNCLAIMED}: {fit[0]} is not open to all (mode {mode:04o})"


@contextlib.contextmanager
def wait_in_line(uuids: Iterable[str], count: int, claim: Claim) -> Iterator[Ticket]:
    """Queue for GPUs: the ticket is visible to all users, and is gone when this process ends.

    Raises:
        GpuopsError: the ticket cannot be written.
    """
    place = folder()
    _sweep(place)
    ticket = Ticket(number=time.time_ns(), uuids=tuple(uuids), count=count, claim=claim)
    path = place / f"wait-{ticket.number}-{os.getpid()}.lock"
    descriptor = _open(path)
    try:
        _lock(descriptor, path)
        try:
            _write(descriptor, {**asdict(claim), "uuids": ticket.uuids, "count": count})
        except OSError as error:  # a ticket without GPUs reserves nothing
            raise _impossible(path, error) from error
        yield ticket
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def queue() -> list[Ticket]:
    """The waiting launches, first come first."""
    found: list[Ticket] = []
    for name, record in _held("wait-"):
        number, uuids, count = name.split("-")[1], record.get("uuids"), record.get("count")
        named = uuids if isinstance(uuids, list) else []
        gpus = tuple(printable(uuid, 100) for uuid in named if isinstance(uuid, str))
        wanted = count if isinstance(count, int) and 0 <= count <= len(gpus) else 0
        claim = _parse_claim(record)
        if number.isdecimal():
            found.append(Ticket(number=int(number), uuids=gpus, count=wanted, claim=claim))
    return sorted(found, key=lambda ticket: ticket.number)


def own_claim(run_id: str, run_dir: str) -> Claim:
    """A claim of this process, for a run."""
    return Claim(
        run_id=run_id,
        run_dir=run_dir,
        user=owners.name(os.getuid()),
        pid=os.getpid(),
        since_s=round(time.time(), 1),
    )


def folder() -> Path:
    """The folder of the locks, made if it is missing: for claims, not for reading.

    Raises:
        GpuopsError: no folder can be used.
        UsageError: the environment names a relative path.
    """
    problems: list[str] = []
    for place in _places():
        problem = _why_unfit(place) or _make(place)
        if not problem:
            return place
        problems.append(problem)
    raise GpuopsError(
        f"{UNCLAIMED}: {problems[0]}.",
        f"`sudo install -d -m 1777 {_places()[0]}` makes the folder; or name one that all users "
        f"of the host can write in {VARIABLE}.",
    )


def _make(place: Path) -> str:
    """Make a folder that all can write; return why it cannot be used, or an empty text."""
    try:
        with contextlib.suppress(FileExistsError), _for_everybody():
            place.mkdir(EVERYBODY)
    except OSError as error:
        return f"{place} cannot be made: {error.strerror}"
    return _why_unfit(place)  # another process may have made something else there


@contextlib.contextmanager
def _for_everybody() -> Iterator[None]:
    """Files made inside can be written by all users from the beginning."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def _places() -> tuple[Path, ...]:
    given = os.environ.get(VARIABLE)
    if given and not os.path.isabs(given):  # noqa: PTH117 - a word of the environment
        raise UsageError(
            f"{VARIABLE}={given} is a relative path: it depends on the current folder.",
            "Write the absolute path, the same for all users.",
        )
    return (Path(given),) if given else tuple(map(Path, SHARED))


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


def _held(*begins: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The locks that are held, by name, each with its record."""
    for place in _places():
        for path in _listed(place, *begins):
            if (record := _record_if_held(path)) is not None:
                yield path.name.removesuffix(".lock"), record


def _listed(place: Path, *begins: str) -> list[Path]:
    try:
        names = os.listdir(place)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
    return [place / name for name in names if name.startswith(begins) and name.endswith(".lock")]


def _open(path: Path) -> int:
    """Open a lock file, made if it is missing; a link in its place is refused.

    Not ``O_CREAT`` on an existing file: the kernel forbids that on other users' files in a sticky
    folder (fs.protected_regular).
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        with _for_everybody():
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            link = error.errno == errno.ELOOP
            what = "is a link" if link else f"cannot be opened: {error.strerror}"
            raise _refused(path, what) from error
    except OSError as error:
        raise _impossible(path, error) from error
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink > 1:
        os.close(descriptor)
        raise _refused(path, "is not a plain file")
    return descriptor


def _impossible(path: Path, error: OSError) -> GpuopsError:
    return GpuopsError(
        f"the claim {path} cannot be made: {error.strerror}: nothing was started.",
        f"Look at its folder: `df {path.parent}`; or set {VARIABLE} to a folder on this host "
        "that all users can write.",
    )


def _refused(path: Path, what: str) -> GpuopsError:
    return GpuopsError(
        f"the claim {path} {what}: nothing was started.",
        f"gpuops did not make it. Look at it and remove it: `rm {path}`.",
    )


def _lock(descriptor: int, path: Path) -> bool:
    """Lock a file; whether that worked, and it is still the file at its path."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WRITE_LOCK)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # a network's file system without locks
        raise _impossible(path, error) from error
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _write(descriptor: int, record: dict[str, object]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(record).encode(), 0)


def _record_if_held(path: Path) -> dict[str, object] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WRITE_LOCK)
        if struct.unpack(_FLOCK, answer)[0] == fcntl.F_UNLCK:
            return None
        record = json.loads(os.pread(descriptor, LARGEST, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(descriptor)
    return record if isinstance(record, dict) else {}


def _parse_claim(record: dict[str, object]) -> Claim:
    """The holder in a file's record, as far as it is valid; any user could have written it."""
    words = {
        name: printable(word, most) if isinstance(word := record.get(name), str) else None
        for name, most in LENGTHS.items()
    }
    pid, since_s, latest_s = record.get("pid"), record.get("since_s"), time.time() + DAY_S
    return Claim(
        **words,
        pid=pid if isinstance(pid, int) and 0 < pid < LARGEST_PID else None,
        # In the past, allowing for a clock that is a day ahead.
        since_s=since_s if isinstance(since_s, float) and 0 <= since_s <= latest_s else None,
    )


def _sweep(place: Path) -> None:
    """Remove the tickets of killed launches; the sticky bit protects other users' files."""
    for path in _listed(place, "wait-"):
        with contextlib.suppress(OSError):
            old = time.time() - path.lstat().st_mtime > 60
            if old and _record_if_held(path) is None:
                path.unlink()
