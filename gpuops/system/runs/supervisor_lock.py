"""The supervisor of a run: one process at a time, found by a lock that the kernel frees."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import signal
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gpuops import reaper
from gpuops.core.run import paths
from gpuops.core.run.record import describe_stopped
from gpuops.errors import GpuopsError
from gpuops.system import files, owners
from gpuops.system.processes.identity import Identity, holds_open, parse

AGAIN_S = 0.5  # two signals at once would be one
POLL_S = 0.02
MODE = 0o600
STOPPED_S = 10.0  # how long a supervisor may stay stopped that was continued
LONGEST = 4096  # bytes; more is not ours
TRIES = 5  # several monitors may read it at once


class SupervisedError(GpuopsError):
    """Another process supervises the run already."""


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Be the supervisor of a run. Only its owner can open the lock, so that no other can hold it.

    Raises:
        SupervisedError: another process is.
        GpuopsError: the lock cannot be written.
    """
    with _take(root) as file:
        with contextlib.suppress(OSError):  # on a full disk the lock itself still counts
            file.truncate(0)
            file.write(json.dumps(reaper.identity(os.getpid())).encode())
        yield


def _take(root: Path) -> IO[bytes]:
    """The locked file; one that a process holds which is not a supervisor is replaced."""
    path = root / paths.SUPERVISOR_LOCK
    for _ in range(TRIES):
        try:
            file = _open(path)
        except OSError as error:
            raise GpuopsError(
                f"{path} cannot be written: {error.strerror}; a run has no supervisor without it.",
                "Check the free space of its folder, and that nothing else has its name.",
            ) from error
        locked = _locked(file)
        if locked and _is_at(path, file):
            return file
        deserted = not locked and (named := _named(file)) is not None and _is_free(named, file)
        if deserted and _is_at(path, file):
            path.unlink(missing_ok=True)
        file.close()
        if not locked and not deserted:
            break
    is_stopped = f": {words}" if (words := describe_stopped(stopped(root))) else ""
    raise SupervisedError(
        f"run {root.name} has a supervisor already{is_stopped}.",
        f"`gpuops attach {root.name}` shows it, `gpuops stop {root.name}` ends it.",
    )


def _open(path: Path) -> IO[bytes]:
    """Open the lock, made if it is missing; what another user has put in its place is removed."""
    if owners.owner(path) not in {None, os.geteuid(), owners.ROOT}:
        path.unlink()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, MODE), "rb+", buffering=0)
    found = os.fstat(file.fileno())  # it may have been replaced
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in owners.trusted():
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file of this user")
    os.fchmod(file.fileno(), MODE)
    return file


def _locked(file: IO[bytes]) -> bool:
    """Take the lock; a process that only reads who has it holds it for a moment."""
    for attempt in range(TRIES):
        time.sleep(POLL_S if attempt else 0)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except OSError:
        return False


def _named(file: IO[bytes]) -> Identity | None:
    """The process that wrote itself into the lock."""
    try:
        return parse(json.loads(os.pread(file.fileno(), LONGEST, 0)))
    except (OSError, ValueError, RecursionError):
        return None


def _is_free(named: Identity, file: IO[bytes]) -> bool:
    """Whether a held lock does not count: the process that it names has ended, or never had it."""
    lock = os.fstat(file.fileno())
    return not named.elsewhere and not holds_open(named, lock.st_uid, lock)


def holder(root: Path) -> Identity | None:
    """The process that supervises a run; ``None`` if there is none, or it cannot be seen."""
    path = root / paths.SUPERVISOR_LOCK
    owner = owners.owner(root)
    if owner is None:
        return None
    with contextlib.suppress(OSError), files.open_regular(path, {owner, owners.ROOT}) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            named = _named(file)
            return named if named is not None and not _is_free(named, file) else None
    return None


def stopped(root: Path) -> int | None:
    """The pid of a run's supervisor if it is stopped, as by Ctrl-Z: it does nothing until then."""
    found = holder(root)
    return found.pid if found is not None and found.stopped else None


def retire(roots: Sequence[Path], *, now: bool, within_s: float = math.inf) -> None:
    """Ask the supervisors of runs to end them; wait until they have ended, or for ``within_s``.

    Asked once, they let a run save; with ``now`` they are asked again until they release the lock.
    One that is stopped is continued.

    Raises:
        GpuopsError: a run belongs to another user, or its supervisor stays stopped.
    """
    asked = {root: found for root in roots if (found := holder(root)) is not None}
    uids = {root: owners.owner(root) for root in asked}
    until_s, again_s, went_on_s = time.monotonic() + within_s, 0.0, time.monotonic()
    while any(one.alive for one in asked.values()) and time.monotonic() < until_s:
        if time.monotonic() >= again_s:
            for root, supervisor in asked.items():
                if holder(root) != supervisor:  # it only reports how the run has ended
                    continue
                try:
                    with owners.acting_as(uids[root]):
                        supervisor.send(signal.SIGTERM)
                except PermissionError as error:
                    raise GpuopsError(
                        f"run {root.name} belongs to another user: you cannot end it."
                    ) from error
            again_s = time.monotonic() + AGAIN_S if now else math.inf
        stands = [(root, one) for root, one in asked.items() if one.stopped]
        for root, supervisor in stands:
            with owners.acting_as(uids[root]), contextlib.suppress(PermissionError):
                supervisor.send(signal.SIGCONT)
        if not stands:
            went_on_s = time.monotonic()
        elif time.monotonic() - went_on_s > STOPPED_S:
            root, supervisor = stands[0]
            raise GpuopsError(
                f"run {root.name} is {describe_stopped(supervisor.pid)}.",
                "It was asked to go on and to end, and stays stopped.",
            )
        time.sleep(POLL_S)
