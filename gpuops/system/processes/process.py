"""The processes of a job: started in their own session, found, signalled by identity."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from gpuops import reaper
from gpuops.errors import GpuopsError
from gpuops.system.processes import members
from gpuops.system.processes.identity import Identity, proven, stat

LOST = -signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Job:
    """A running attempt, seen from its supervisor: the reaper, and torchrun below it.

    ``child`` is the reaper if this process started it; an adopted job has none.
    """

    state_dir: Path
    child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The reaper's pid, to wait for."""
        started = self.child or self.reaper
        return started.pid if started else None

    @property
    def reaper(self) -> Identity | None:
        """The reaper, once it has recorded itself."""
        return proven(self.state_dir, "reaper")

    @property
    def agent(self) -> Identity | None:
        """The torchrun process, once the reaper has started it."""
        return proven(self.state_dir, "agent")

    def workers(self) -> list[Identity]:
        """The worker processes."""
        return list(self.ranks().values())

    def ranks(self) -> dict[int, Identity]:
        """The worker processes, by rank; those that a dead torchrun left, as last recorded."""
        agent = self.agent
        if agent is not None and agent.alive:
            return ranks_of(agent)
        recorded = members.alive(members.read(self.state_dir))
        return {one.rank: one.identity for one in recorded if one.rank is not None}

    def terminate(self) -> None:
        """Ask a job that is just starting to end: the reaper passes the signal on."""
        if self.child is not None:
            self.child.send_signal(signal.SIGTERM)
        elif (found := self.reaper) is not None:
            found.send(signal.SIGTERM)

    def poll(self) -> int | None:
        """How torchrun ended (negative: by which signal), or ``None`` while it runs.

        If the reaper itself was killed, that is unknown: as if torchrun had been killed.
        """
        if self.child is not None:
            code = self.child.poll()
            if code is None:
                return None
        else:
            found, code = self.reaper, LOST
            if found is not None and found.alive:
                return None
        recorded = self.recorded_exit
        return code if recorded is None else recorded

    @property
    def recorded_exit(self) -> int | None:
        """How torchrun ended, once the reaper has recorded it; the reaper may still be there."""
        recorded = (members.read_exit(self.state_dir) or {}).get("returncode")
        return recorded if isinstance(recorded, int) else None


def start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str,
    state_dir: Path,
    log: Path,
    claims: Sequence[int] = (),
) -> Job:
    """Start a command under a reaper, in sessions of their own.

    The reaper inherits the descriptors of ``claims``, and no process below it: the locks last as
    long as the job does, and not as long as a process that a worker left behind.

    Raises:
        GpuopsError: it cannot be started.
    """
    command = [sys.executable, "-I", reaper.__file__, str(state_dir), str(log), "--", *argv]
    try:
        with log.open("ab") as stderr:
            child = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                pass_fds=claims,
            )
    except OSError as error:
        what = error.filename or argv[0]
        raise GpuopsError(
            f"the job cannot be started: {what}: {error.strerror}.",
            "Launch it again from the folder that has its files now.",
        ) from error
    return Job(state_dir, child)


def ranks_of(agent: Identity) -> dict[int, Identity]:
    """The worker processes of a torchrun: its children that carry a RANK, by rank."""
    found: dict[int, Identity] = {}
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(agent.pid).children():
            with contextlib.suppress(psutil.Error, ValueError):
                named, rank = stat(child.pid), child.environ().get("RANK")
                if named and rank is not None:
                    found[int(rank)] = Identity(child.pid, named.start_ticks)
    return found if agent.alive else {}


class SignalQueue:
    """Stop signals as they come in, to be waited for together with a child process."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._received: list[int] = []

    def __enter__(self) -> SignalQueue:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._reader.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, lambda number, _frame: self._received.append(number))
            for number in self.SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup, or a shell's background
        }
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._reader.close()
        self._writer.close()

    def wait(self, pid: int | None, timeout_s: float) -> Iterator[int]:
        """Wait for a signal, the end of a process, or the time; yield the signals received."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(ProcessLookupError):
                if pid is not None:
                    handle = os.pidfd_open(pid)
                    stack.callback(os.close, handle)
                    poller.register(handle, select.POLLIN)
            poller.poll(timeout_s * 1000)
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(64):
                pass
        while self._received:
            yield self._received.pop(0)
