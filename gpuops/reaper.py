"""The shim between gpuops and torchrun: it starts torchrun, outlives it, and records its exit.

Run as ``python reaper.py STATE_DIR AGENT_LOG -- COMMAND...``; standard library only, so that it
starts quickly and needs no packages.

It makes itself a child subreaper: workers orphaned by a killed torchrun are adopted by it instead
of pid 1, and it ends them. ``process.json`` records the processes, ``exit.json`` the exit.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROCESS, EXIT = "process.json", "exit.json"  # in the folder of the attempt's state
NOT_FOUND = 127  # as in a shell
ORPHAN_GRACE_S = 5.0
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Run the command to its end; return its exit code."""
    state_dir, agent_log, separator, *command = argv
    if separator != "--" or not command:
        print("usage: reaper.py STATE_DIR AGENT_LOG -- COMMAND...", file=sys.stderr)
        return 2
    state = Path(state_dir)
    # Here, because others import this module for its small functions only.
    import ctypes  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    shim = os.getpid()

    def tie_to_shim() -> None:
        """If this shim is killed, torchrun gets SIGTERM and ends its workers."""
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        if os.getppid() != shim:  # it was killed before that
            os._exit(1)

    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is a torchrun to pass them to
    with open(agent_log, "ab", buffering=0) as log:  # noqa: PTH123 - appended to, unbuffered
        try:
            agent = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tie_to_shim,  # noqa: PLW1509
            )
        except OSError as error:
            log.write(f"{command[0]} cannot be run: {error.strerror}\n".encode())
            _write_exit(state, NOT_FOUND, 0)
            return NOT_FOUND
    for number in PASSED_ON:
        signal.signal(number, lambda number, _frame: _send(agent.pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    record = {
        "agent": identity(agent.pid),
        "reaper": identity(os.getpid()),
        "started_at": time.time(),
    }
    try:
        write_json(state / PROCESS, record)
    except OSError as error:  # nothing could find the job: better no job than a lost one
        print(f"{state} cannot be written: {error.strerror}", file=sys.stderr)
        _send(agent.pid, signal.SIGTERM)
    returncode = _wait_for(agent.pid)
    for number in PASSED_ON:
        signal.signal(number, signal.SIG_IGN)  # its pid may belong to another process by now
    _write_exit(state, returncode, _end_orphans())
    return 128 - returncode if returncode < 0 else returncode


def _write_exit(state: Path, returncode: int, orphans: int) -> None:
    """Write the exit record; if the disk is full, the exit status must be enough."""
    with contextlib.suppress(OSError):
        write_json(
            state / EXIT,
            {"returncode": returncode, "ended_at": time.time(), "orphans_ended": orphans},
        )


def identity(pid: int) -> dict[str, str | int] | None:
    """What names one process for good: its pid and start time (clock ticks), in one boot of a host.

    ``None`` if it has gone; one that has ended and was not waited for has gone too.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in {"Z", "X"}:
        return None
    return {
        "host": host(),
        "boot_id": boot_id(),
        "pid_namespace": pid_namespace(),
        "pid": pid,
        "start_ticks": int(fields[19]),
    }


@functools.cache
def host() -> str:
    """The name of this host."""
    return os.uname().nodename


@functools.cache
def boot_id() -> str:
    """Which boot of the host this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@functools.cache
def pid_namespace() -> int:
    """Among which processes a pid counts: a container has a namespace of its own."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - pathlib is not needed for it
    except OSError:
        return 0


def write_json(path: Path, value: object) -> None:
    """Write a file atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it may be of another user
        os.kill(pid, number)


def _wait_for(pid: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _children() -> list[int]:
    me, children = os.getpid(), []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(entry.path, "stat").read_text(errors="replace")
            fields = stat.rpartition(")")[2].split()
            if int(fields[1]) == me and fields[0] != "Z":
                children.append(int(entry.name))
    return children


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_orphans() -> int:
    """End what a dead torchrun left behind: it is useless, and it holds the GPUs."""
    orphans: set[int] = set()
    begin = time.monotonic()
    asked: set[int] = set()
    while children := _children():
        orphans.update(children)
        late = time.monotonic() - begin > ORPHAN_GRACE_S
        if time.monotonic() - begin > 2 * ORPHAN_GRACE_S:
            break  # unkillable: in the D state, or of another user
        for pid in children:
            if late or pid not in asked:
                _send(pid, signal.SIGKILL if late else signal.SIGTERM)
                asked.add(pid)
        time.sleep(0.02)
        _reap()
    _reap()
    return len(orphans)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
