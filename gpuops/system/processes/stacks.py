"""The Python stacks of running ranks: from py-spy, else from the ranks themselves.

py-spy reads even a process that is stopped or stuck, and does not stop it. Without permission for
that, a rank that has registered ``faulthandler`` for SIGUSR2 is asked. If neither works, the
``gap`` holds the kernel's state of its threads.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpuops.core.diagnosis.stack import Frame, Stack, ThreadStack, is_deep
from gpuops.system import files
from gpuops.system.processes.identity import Identity, stat

SPY_SHARE = 0.7  # of the time; the rest is for asking the ranks that it could not read
QUIET_S = 0.05
SOURCE_S = 0.5

_THREAD = re.compile(
    r"(?P<current>Current thread|Thread) 0x[0-9a-f]+(?: \[(?P<name>.*)\])? "
    r"\(most recent call first\):"
)
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+|\?+) in (?P<function>.+)')

Found = tuple[ThreadStack, ...] | str  # or why there is none


def dump(
    targets: Sequence[tuple[int, Identity]],
    timeout_s: float = 5.0,
    stderr_logs: Mapping[int, Path] | None = None,
) -> tuple[Stack, ...]:
    """Dump the stacks of (rank, process), all at once, within about ``timeout_s``.

    ``stderr_logs``: the logs of the ranks that have registered faulthandler for SIGUSR2 (all
    trainers of the engine do); no other process is sent that signal.
    """
    begin = time.monotonic()
    found = _spied(targets, begin + SPY_SHARE * timeout_s)
    unread = [(rank, process) for rank, process in targets if isinstance(found[rank], str)]
    found |= _signal_to_dump(unread, stderr_logs or {}, begin + timeout_s)
    host = socket.gethostname()
    return _with_source([_stack(rank, process, found[rank], host) for rank, process in targets])


def _stack(rank: int, process: Identity, found: Found, host: str) -> Stack:
    if not process.alive:  # what was read may be another process's
        return Stack(rank=rank, pid=process.pid, host=host, gap="its process has ended")
    if isinstance(found, str):
        gap = "; ".join(filter(None, (found, _in_kernel(process.pid))))
        return Stack(rank=rank, pid=process.pid, host=host, gap=gap)
    return Stack(rank=rank, pid=process.pid, host=host, threads=found)


# ------------------------------------------------------------------------------------------- py-spy


@dataclass(frozen=True, slots=True)
class _Spy:
    """A py-spy that reads one process. It writes to memory, since the disk may hang."""

    child: subprocess.Popen[bytes]
    output: int
    errors: int
    was_stopped: bool


def _spied(targets: Sequence[tuple[int, Identity]], until_s: float) -> dict[int, Found]:
    program = _py_spy()
    if program is None:
        return dict.fromkeys((rank for rank, _ in targets), "py-spy is not installed")
    spies: dict[int, _Spy] = {}
    found: dict[int, Found] = {}
    with contextlib.ExitStack() as files:
        for rank, process in targets:
            try:
                spies[rank] = _start(program, process, files)
            except OSError as error:
                found[rank] = f"py-spy cannot be started: {error.strerror}"
        _wait(spies.values(), until_s)
        late = {rank: spy for rank, spy in spies.items() if spy.child.returncode is None}
        for spy in late.values():
            spy.child.kill()
        _wait(late.values(), time.monotonic() + QUIET_S)
        for rank, process in targets:
            if rank in late:
                found[rank] = "py-spy did not end in its time"
                # Killed, it may leave the rank stopped; one that was stopped before stays so.
                now = None if late[rank].was_stopped else stat(process.pid)
                if now is not None and now.state == "T":
                    process.send(signal.SIGCONT)
            elif rank in spies:
                found[rank] = _result(spies[rank], process.pid)
    return found


def _py_spy() -> str | None:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")


def _start(program: str, process: Identity, files: contextlib.ExitStack) -> _Spy:
    files.callback(os.close, output := os.memfd_create("output"))
    files.callback(os.close, errors := os.memfd_create("errors"))
    was_stopped = (now := stat(process.pid)) is not None and now.state in {"T", "t"}
    child = subprocess.Popen(
        # Without --nonblocking it stops the process, and fails on one that is stopped already.
        [program, "dump", "--nonblocking", "--json", "--pid", str(process.pid)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,  # a Ctrl-C is for the job
    )
    return _Spy(child, output, errors, was_stopped)


def _wait(spies: Iterable[_Spy], until_s: float) -> None:
    """Wait until all have ended, or for the time."""
    for spy in spies:
        with contextlib.suppress(subprocess.TimeoutExpired):
            spy.child.wait(max(0.0, until_s - time.monotonic()))


def _result(spy: _Spy, pid: int) -> Found:
    if spy.child.returncode != 0:
        return _complaint(_all_of(spy.errors).decode(errors="replace"))
    try:
        threads = tuple(_thread(thread, pid) for thread in json.loads(_all_of(spy.output)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "py-spy's output cannot be parsed"
    return threads or "py-spy found no Python threads"


def _all_of(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _thread(thread: Mapping[str, object], pid: int) -> ThreadStack:
    frames = thread["frames"]
    if not isinstance(frames, list):
        raise TypeError
    name = str(thread.get("thread_name") or "")
    return ThreadStack(
        name=name,
        frames=tuple(
            Frame(function=str(f["name"]), file=str(f["filename"]), line=int(f["line"]))
            for f in frames
        ),
        is_main=thread.get("os_thread_id") == pid or name == "MainThread",
        active=bool(thread["active"]),
        has_gil=bool(thread["owns_gil"]),
    )


def _complaint(text: str) -> str:
    """The error sentence in py-spy's output."""
    if "permission denied" in text.lower() or "not permitted" in text.lower():
        return "py-spy may not read it: permission denied"
    first = text.strip().partition("\n")[0].removeprefix("Error: ").rstrip(".")
    return f"py-spy: {first}" if first else "py-spy failed and did not say why"


# ------------------------------------------------------------------------------------- faulthandler


def _signal_to_dump(
    targets: Sequence[tuple[int, Identity]], logs: Mapping[int, Path], until_s: float
) -> dict[int, Found]:
    """The stacks that ranks with faulthandler write when asked."""
    waiting: dict[int, tuple[Path, int]] = {}
    for rank, process in targets:
        with contextlib.suppress(OSError):
            # A signal without a handler would end it; one that is stopped could not answer.
            if rank in logs and _handles_dump_signal(process):
                waiting[rank] = (logs[rank], logs[rank].stat().st_size)
                process.send(signal.SIGUSR2)
    answers = dict.fromkeys(waiting, b"")
    quiet_since_s = time.monotonic()
    while waiting and (now_s := time.monotonic()) < until_s:
        before = answers
        answers = {rank: _read_from(*where) for rank, where in waiting.items()}
        if answers != before or not all(answers.values()):
            quiet_since_s = now_s
        elif now_s - quiet_since_s > QUIET_S:
            break
        time.sleep(QUIET_S / 5)
    parsed = {rank: parse(text.decode(errors="replace")) for rank, text in answers.items()}
    return {rank: threads for rank, threads in parsed.items() if threads}


def _handles_dump_signal(process: Identity) -> bool:
    """Whether this very process has a handler for SIGUSR2, and can run it now."""
    status = Path(f"/proc/{process.pid}/status").read_text(errors="replace")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bit = 1 << (signal.SIGUSR2 - 1)
    caught, blocked = (int(fields.get(name, "0"), 16) for name in ("SigCgt", "SigBlk"))
    can_run = fields.get("State", "T")[0] in "RS"
    return bool(caught & bit) and not blocked & bit and can_run and process.alive


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""


def parse(text: str) -> tuple[ThreadStack, ...]:
    """Parse faulthandler's output. The thread that took the signal is the main one."""
    threads: list[ThreadStack] = []
    for line in text.splitlines():
        if header := _THREAD.fullmatch(line.rstrip()):
            current = header["current"] == "Current thread"
            threads.append(ThreadStack(name=header["name"] or "", frames=(), is_main=current))
        elif threads and (match := _FRAME.fullmatch(line.rstrip())):
            number = int(match["line"]) if match["line"].isdecimal() else 0
            frame = Frame(function=match["function"], file=match["file"], line=number)
            threads[-1] = replace(threads[-1], frames=(*threads[-1].frames, frame))
    return tuple(threads)


# --------------------------------------------------------------------------- the kernel, the source


def _in_kernel(pid: int) -> str:
    """``in the kernel: S in futex_wait_queue (3 threads), R``; empty if unreadable."""
    seen: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            seen[_describe_wait(thread)] += 1
    del seen[""]
    parts = [
        words if count == 1 else f"{words} ({count} threads)" for words, count in seen.most_common()
    ]
    return f"in the kernel: {', '.join(parts)}" if parts else ""


def _describe_wait(thread: Path) -> str:
    """A thread's state, and the kernel function or system call that it waits in."""
    try:
        state = (thread / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
    with contextlib.suppress(OSError):
        function = (thread / "wchan").read_text().strip("0\n")
        call = (thread / "syscall").read_text().split()[0]
        where = function or (f"system call {call}" if call.isdecimal() else "")
        return f"{state} in {where}" if where else state
    return state


def _with_source(stacks: Sequence[Stack]) -> tuple[Stack, ...]:
    """The stacks with the source lines of all frames that are not Python's or torch's.

    In a thread that is abandoned after a while: the program may be on the disk that hangs.
    """
    frames = [f for stack in stacks for thread in stack.threads for f in thread.frames]
    wanted = {(frame.file, frame.line) for frame in frames if not is_deep(frame)}
    texts: dict[tuple[str, int], str] = {}

    def read() -> None:
        linecache.checkcache()
        for file, line in wanted:
            if files.is_file(Path(file)):  # a program says what its files are called
                texts[file, line] = linecache.getline(file, line).strip()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(SOURCE_S)
    known = dict(texts)

    def with_source(thread: ThreadStack) -> ThreadStack:
        frames = (replace(f, text=known.get((f.file, f.line), "")) for f in thread.frames)
        return replace(thread, frames=tuple(frames))

    return tuple(replace(stack, threads=tuple(map(with_source, stack.threads))) for stack in stacks)
