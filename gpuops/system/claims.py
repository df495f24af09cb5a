"""Claims on GPUs and ports, and the queue for them, visible to all gpuops users of the host.

A claim is a lock file of its user (``lock_files``). A launch passes its descriptors to the reaper,
so a claim lasts as long as the job.

To claim, a process first makes its files, which all see from then on, and then looks at those of
others: of two that claim the same, at least one sees the other. A process that sees a claim gives
way. Of two that still decide, one gives way and the other waits for that.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpuops.core.launch.queue import Ticket
from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError
from gpuops.system import lock_files, owners
from gpuops.system.lock_files import VARIABLE, LockFile, Seen, folder, why_none, why_not_shared
from gpuops.text import printable

__all__ = ["VARIABLE", "folder", "why_none", "why_not_shared"]

# The text fields of a holder's record, and how many letters of each are shown.
LENGTHS = {"run_id": 100, "run_dir": 1000}
LARGEST_PID = 2**22  # that Linux gives
DECIDE_S = 2.0  # who has not decided by then holds what it locks
LOOK_AGAIN_S = 0.002
LOOKS = 100
PAUSE_S = (0.005, 0.05)  # drawn at random: two that gave way to each other do not meet again


class TakenError(GpuopsError):
    """Another launch claimed it after it was seen free: choose again."""

    def __init__(self, rival: Seen) -> None:
        self.name, self.claim = rival.name, _claim(rival)
        super().__init__(
            f"{self.name} was claimed a moment ago by {self.claim.user}.",
            "`gpuops gpus` shows the claims.",
        )


class Claims:
    """What a run holds, by name, for as long as this object or a process that inherits it lives."""

    def __init__(self) -> None:
        self._files: dict[str, LockFile] = {}
        self._folder: int | None = None

    @property
    def names(self) -> frozenset[str]:
        """The GPUs and ports that are held."""
        return frozenset(self._files)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The locks, to pass on to a process that holds them from then on."""
        folders = () if self._folder is None else (self._folder,)
        return (*(file.descriptor for file in self._files.values()), *folders)

    def add(self, names: Iterable[str], claim: Claim) -> None:
        """Claim what is not held yet of some GPUs and ports: all of it, or nothing.

        Raises:
            TakenError: another launch holds one of them.
            GpuopsError: claims cannot be made here.
        """
        new = sorted(set(names) - self.names)
        if not new:
            return
        lock_files.sweep("gpu-", "port-")
        until_s = time.monotonic() + DECIDE_S
        while True:
            with contextlib.ExitStack() as given_up:
                files: dict[str, LockFile] = {}
                for name in new:
                    files[name] = lock_files.make(name, _record(claim))
                    given_up.callback(files[name].release)
                rival = _rival(files, until_s)
                if rival is None:
                    for file in files.values():
                        file.decide()
                    given_up.pop_all()
                    self._hold(files)
                    return
            if not rival.deciding or time.monotonic() > until_s:
                raise TakenError(rival)
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - not a secret

    def adopt(self, claim: Claim, holder: int | None) -> None:
        """Hold also what another process of this user, ``holder`` or another, holds for a run.

        On a full disk a file does not say for which run it is held; then only its holder tells.

        Raises:
            GpuopsError: claims cannot be made here.
        """
        held = lock_files.opened_by(holder) if holder is not None else frozenset()
        for seen in _held("gpu-", "port-"):
            its = seen.order in held or seen.record.get("run_dir") == claim.run_dir
            if seen.uid != os.geteuid() or not its or seen.name in self._files:
                continue
            file = lock_files.make(seen.name, seen.record or _record(claim))
            file.decide()
            if lock_files.look(seen.path) is None:  # it may have been claimed before we held it
                file.release()
            else:
                self._hold({seen.name: file})

    def keep(self, names: Iterable[str]) -> None:
        """Let go of all but some of them."""
        for name in self.names.difference(names):
            self._files.pop(name).release()

    def close(self) -> None:
        """Let go of everything that no other process inherited."""
        self.keep(())
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
            lock_files.sweep("gpu-", "port-")  # of a process that was adopted

    def _hold(self, files: dict[str, LockFile]) -> None:
        self._files |= files
        if self._folder is None:
            self._folder = lock_files.keep_folder()


def gpu(uuid: str) -> str:
    """The name of the claim on a GPU."""
    return f"gpu-{uuid}"


def port(number: int) -> str:
    """The name of the claim on a port."""
    return f"port-{number}"


def holders() -> dict[str, Claim]:
    """The current claims, by name: the oldest, if a lock that cannot be used lies beside it."""
    seen = sorted(_held("gpu-", "port-"), key=lambda one: (one.unusable is not None, one.since_ns))
    return {one.name: _claim(one) for one in reversed(seen)}


@contextlib.contextmanager
def wait_in_line(uuids: Iterable[str], count: int, claim: Claim) -> Iterator[Ticket]:
    """Queue for GPUs: the ticket is visible to all users, and is gone when this process ends.

    Raises:
        GpuopsError: the ticket cannot be written.
    """
    lock_files.sweep("wait-")
    record = {**_record(claim), "uuids": list(uuids), "count": count}
    number = time.time_ns()
    file = lock_files.make(f"wait-{number}", record, whole=True)
    try:
        seen = lock_files.look(file.path)
        yield (_ticket(seen) if seen else None) or Ticket(
            number=number, uuids=(), count=count, claim=claim
        )
    finally:
        file.release()


def queue() -> list[Ticket]:
    """The waiting launches, first come first."""
    found = [ticket for seen in _held("wait-") if (ticket := _ticket(seen)) is not None]
    return sorted(found, key=lambda ticket: ticket.number)


def own_claim(run_id: str, run_dir: str) -> Claim:
    """A claim of this process, for a run."""
    return Claim(run_id=run_id, run_dir=run_dir, pid=os.getpid())


def _held(*begins: str) -> list[Seen]:
    """What is held of some kind, or must be taken for held."""
    seen = map(lock_files.look, lock_files.paths(*begins))
    return [one for one in seen if one is not None]


def _rival(files: dict[str, LockFile], until_s: float) -> Seen | None:
    """Who holds what these files claim too, or decides and goes first; ``None`` if no process does.

    It waits for those that decide and come after us, and for ``until_s`` at most.

    Raises:
        GpuopsError: files are made faster than they can be looked at.
    """
    ours = {file.path for file in files.values()}
    looked_at, clear = set(ours), 1
    while clear < LOOKS:
        there = lock_files.paths(*(f"{name}." for name in files), everything=True)
        if len(there) > lock_files.MOST:
            return _crowd(there)
        # A claim may pass to another file while we look: none may be new after a look.
        if clear and looked_at.issuperset(there):
            return None
        looked_at.update(there)
        held = [one for path in there if path not in ours and (one := lock_files.look(path))]
        first = [one for one in held if not one.deciding or one.order < files[one.name].order]
        if first or (held and time.monotonic() > until_s):
            return min(first or held, key=lambda one: one.deciding)
        clear = 0 if held else clear + 1
        time.sleep(LOOK_AGAIN_S if held else 0)
    raise GpuopsError(
        f"nothing was claimed: files are made in {folder()} all the time.",
        "`gpuops gpus` shows the claims; `ls -l` of the folder shows whose files they are.",
    )


def _crowd(there: list[Path]) -> Seen:
    """The files of the name that most have: as many cannot be looked at, and count as held."""
    name, _ = Counter(map(lock_files.name_of, there)).most_common(1)[0]
    path = next(path for path in there if lock_files.name_of(path) == name)
    why = f"is one of more than {lock_files.MOST:,} files of its name"
    uid = owners.owner(path)
    known = owners.ROOT if uid is None else uid
    return Seen(path=path, uid=known, order=(0, 0), since_ns=time.time_ns(), unusable=why)


def _record(claim: Claim) -> dict[str, object]:
    return {"run_id": claim.run_id, "run_dir": claim.run_dir, "pid": claim.pid}


def _claim(seen: Seen) -> Claim:
    """A holder: the file's owner, and what the file says of the run, made safe to show."""
    words = {
        key: printable(word, most) if isinstance(word := seen.record.get(key), str) else None
        for key, most in LENGTHS.items()
    }
    pid = seen.record.get("pid")
    return Claim(
        **words,
        user=owners.name(seen.uid),
        ours=seen.uid == os.geteuid(),
        pid=pid if isinstance(pid, int) and 0 < pid < LARGEST_PID else None,
        since_s=seen.since_ns / 1e9,
        file=printable(str(seen.path), LENGTHS["run_dir"]),
        unusable=seen.unusable,
    )


def _ticket(seen: Seen) -> Ticket | None:
    """A waiting launch; ``None`` if its file does not say for which GPUs it waits.

    Its place in the queue is not before the file was made, whatever its name says.
    """
    number, uuids = seen.name.removeprefix("wait-"), seen.record.get("uuids")
    named = uuids if isinstance(uuids, list) else []
    gpus = tuple(dict.fromkeys(uuid for uuid in named if isinstance(uuid, str)))
    count = seen.record.get("count")
    if not number.isdecimal() or not isinstance(count, int) or not 0 < count <= len(gpus):
        return None
    return Ticket(
        number=max(int(number), seen.since_ns),
        uuids=tuple(printable(uuid, 100) for uuid in gpus),
        count=count,
        claim=_claim(seen),
    )
