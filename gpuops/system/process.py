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
from gpuops.system.files import read_json
from gpuops.system.identity import Identity, agent_identity


@dataclass(frozen=True, slots=True)
class Job:
    """A running attempt, seen from its supervisor: the reaper is the child, torchrun its child."""

    reaper: subprocess.Popen[bytes]
    state_dir: Path

    @property
    def agent(self) -> Identity | None:
        """The torchrun process, once the reaper has started it."""
        return agent_identity(self.state_dir)

    def workers(self) -> list[Identity]:
        """One process a rank: torchrun's children that carry a RANK."""
        agent = self.agent
        return ranks_of(agent) if agent else []

    def poll(self) -> int | None:
        """How torchrun ended (negative: by which signal), or ``None`` while it runs."""
        code = self.reaper.poll()
        if code is None:
            return None
        record = read_json(self.state_dir / "exit.json")
        return int(record["returncode"]) if record else code


def start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str,
    state_dir: Path,
    log: Path,
    claims: Sequence[int] = (),
) -> Job:
    """Start a command under a reaper, in sessions of their own.

    The reaper inherits the descriptors of ``claims``, and nobody below it: the locks last as long
    as the job does, and not as long as a process that a worker left behind.

    Raises:
        GpuopsError: it cannot be started.
    """
    command = [
        sys.executable,
        "-I",
        reaper.__file__,
        str(state_dir),
        str(log),
        "--",
        *argv,
    ]
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
            "Launch it anew where its files are now.",
        ) from error
    return Job(child, state_dir)


def ranks_of(agent: Identity) -> list[Identity]:
    """The worker processes of a torchrun: its children that carry a RANK."""
    found: list[Identity] = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(agent.pid).children():
            with contextlib.suppress(psutil.Error):
                named = reaper.identity(child.pid)
                if named and "RANK" in child.environ():
                    found.append(Identity(**named))
    return found if agent.alive else []


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

    def wait(self, pid: int, timeout_s: float) -> Iterator[int]:
        """Wait for a signal, the end of a child, or the time; yield the signals received."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                poller = select.poll()
                poller.register(handle, select.POLLIN)
                poller.register(self._reader, select.POLLIN)
                poller.poll(timeout_s * 1000)
            finally:
                os.close(handle)
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(64):
                pass
        while self._received:
            yield self._received.pop(0)
