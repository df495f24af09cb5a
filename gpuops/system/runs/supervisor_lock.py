"""The supervisor of a run: one process at a time, found by a lock that the kernel frees."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gpuops import reaper
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.processes.identity import Identity, parse

AGAIN_S = 0.5  # two signals at once would be one
POLL_S = 0.02
LONGEST = 4096  # bytes; more is not ours
TRIES = 5  # several monitors may read it at once


class SupervisedError(GpuopsError):
    """Another process supervises the run already."""


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Be the supervisor of a run.

    Raises:
        SupervisedError: another process is.
        GpuopsError: the lock cannot be written: the run is of another user.
    """
    path = root / paths.SUPERVISOR_LOCK
    try:
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise GpuopsError(f"{path} cannot be written: {error.strerror}.") from error
    with file:
        if not _locked(file):
            raise SupervisedError(
                f"run {root.name} has a supervisor already.",
                f"`gpuops attach {root.name}` shows it, `gpuops stop {root.name}` ends it.",
            )
        file.truncate(0)
        with contextlib.suppress(OSError):  # on a full disk the lock itself still counts
            file.write(json.dumps(reaper.identity(os.getpid())).encode())
        yield


def _locked(file: IO[bytes]) -> bool:
    """Take the lock; a process that only reads who has it holds it for a moment."""
    for attempt in range(TRIES):
        time.sleep(POLL_S if attempt else 0)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def holder(root: Path) -> Identity | None:
    """The process that supervises a run; ``None`` if there is none."""
    gone = contextlib.suppress(OSError, ValueError, RecursionError)
    with gone, files.open_regular(root / paths.SUPERVISOR_LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return parse(json.loads(file.read(LONGEST)))
    return None


def retire(roots: Sequence[Path], *, now: bool, within_s: float = math.inf) -> None:
    """Ask the supervisors of runs to end them; wait until they have ended, or for ``within_s``.

    Asked once, they let a run save; with ``now`` they are asked again until they release the lock.

    Raises:
        GpuopsError: a run belongs to another user.
    """
    asked = {root: found for root in roots if (found := holder(root)) is not None}
    until_s, again_s = time.monotonic() + within_s, 0.0
    while any(one.alive for one in asked.values()) and time.monotonic() < until_s:
        if time.monotonic() >= again_s:
            for root, supervisor in asked.items():
                if holder(root) != supervisor:  # it only reports how the run has ended
                    continue
                try:
                    supervisor.send(signal.SIGTERM)
                except PermissionError as error:
                    raise GpuopsError(
                        f"run {root.name} belongs to another user: you cannot end it."
                    ) from error
            again_s = time.monotonic() + AGAIN_S if now else math.inf
        time.sleep(POLL_S)
