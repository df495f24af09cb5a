"""The faults that come from outside the job: what the drill itself does while the job runs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import psutil

from gpuops.core.drill import Injection
from gpuops.core.run import paths
from gpuops.drill.scene import POLL_S, TOO_LONG_S, Process, Scene
from gpuops.reaper import EXIT
from gpuops.system import claims
from gpuops.system.runs import events, supervisor_lock


def injected(scene: Scene, child: Process, injection: Injection) -> AbstractContextManager[Process]:
    """Do what a fault needs from outside; inside the context, wait for the command it yields."""
    act = _ACTS.get(injection.fault.name)
    return nullcontext(child) if act is None else act(scene, child, injection)


@contextmanager
def _supervisor_replaced(scene: Scene, child: Process, injection: Injection) -> Iterator[Process]:
    """Kill the supervisor once the job trains, and start another one."""
    _await(child, lambda: scene.mark(injection.words[0]))
    child.kill()
    child.wait()
    adopter = scene.gpuops("supervise", str(scene.root))
    _await(adopter, lambda: scene.root and supervisor_lock.holder(scene.root))
    scene.let_kill()
    yield adopter


@contextmanager
def _supervisor_suspended(scene: Scene, child: Process, injection: Injection) -> Iterator[Process]:
    """Stop the supervisor once the job trains, and continue it when the job has ended."""
    _await(child, lambda: scene.mark(injection.words[0]))
    suspend(child)
    scene.let_kill()
    _await(child, lambda: scene.root and (scene.root / paths.state(1) / EXIT).exists())
    child.send_signal(signal.SIGCONT)
    yield child


@contextmanager
def _waiter_in_line(scene: Scene, child: Process, injection: Injection) -> Iterator[Process]:
    """Have another launch wait for the job's GPUs; it must get them after the job has ended."""
    _await(child, lambda: scene.root)
    waiter = scene.launch_waiter()
    _await(waiter, claims.queue)
    if claims.queue():
        scene.set_mark(injection.words[0], attempt=1)
    scene.let_kill()
    yield child
    if child.poll() == 0 and (problem := served_wrong(scene, waiter)):
        scene.wrong.append(problem)
    scene.end_waiter(waiter)


@contextmanager
def _locks_full(scene: Scene, child: Process, injection: Injection) -> Iterator[Process]:
    """Empty the records of the job's locks, and close their folder to all but root."""
    _await(child, lambda: scene.mark(injection.words[0]))
    fill_locks(scene.locks)
    scene.let_kill()
    yield child
    open_locks(scene.locks)


@contextmanager
def _port_taken(scene: Scene, child: Process, injection: Injection) -> Iterator[Process]:
    """Take the planned port before torchrun does, and hold it inside the context."""
    _await(child, lambda: scene.root, POLL_S / 10)
    plan = scene.plan
    taken = take_port(plan["master_port"]) if plan is not None else None
    with taken or nullcontext():
        if plan is not None and taken is not None:
            scene.set_mark(injection.words[0], plan["attempt"])
        yield child


_ACTS: Mapping[str, Callable[[Scene, Process, Injection], AbstractContextManager[Process]]] = {
    "supervisor": _supervisor_replaced,
    "suspend": _supervisor_suspended,
    "waiter": _waiter_in_line,
    "locks": _locks_full,
    "port": _port_taken,
}


def suspend(process: Process) -> None:
    """SIGSTOP, and wait until the process stands still."""
    process.send_signal(signal.SIGSTOP)
    _await(process, lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def served_wrong(scene: Scene, waiter: Process) -> str:
    """What is wrong with how a waiter was served after the run has ended; empty if nothing is."""
    _await(waiter, lambda: _started_at(scene.waiters_root))
    begun_s, ended_s = _started_at(scene.waiters_root), _last(scene.root, "attempt_ended")
    if begun_s is None or ended_s is None:
        return "the launch that waited did not get the GPUs when the run had ended"
    return "" if begun_s >= ended_s else "the launch that waited got GPUs of the run"


def _started_at(root: Path | None) -> float | None:
    return _last(root, "attempt_started")


def _last(root: Path | None, name: str) -> float | None:
    """When an event happened last in a run."""
    found = events.read(root) if root is not None else ()
    times = [float(event["time"]) for event in found if event.get("event") == name]
    return times[-1] if times else None


def fill_locks(folder: Path) -> None:
    """Leave locks as a full folder does: without records, and with no space for another file."""
    for lock in folder.glob("*.lock"):
        os.truncate(lock, 0)
    folder.chmod(0o555)


def open_locks(folder: Path) -> None:
    """Let new locks be made again."""
    folder.chmod(0o1777)


def take_port(port: int) -> socket.socket | None:
    """Listen at a port; ``None`` if another process already does."""
    taken = socket.socket()
    # Connections of the previous run may still be closing.
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
        taken.listen()
    except OSError:
        taken.close()
        return None
    return taken


def _await(process: Process, seen: Callable[[], object], poll_s: float = POLL_S) -> None:
    """Wait until something is seen, or the process has ended, or it takes too long."""
    until_s = time.monotonic() + TOO_LONG_S
    while process.poll() is None and not seen() and time.monotonic() < until_s:
        time.sleep(poll_s)
