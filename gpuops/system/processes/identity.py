"""Names a process for good: a pid is reused, a pid with its start time and boot is not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from gpuops import heartbeat, reaper
from gpuops.core.run import paths
from gpuops.system import files, owners

Role = Literal["agent", "reaper"]
ROLES: tuple[Role, ...] = ("reaper", "agent")
ENDED = {"Z", "X"}
STOPPED = {"T", "t"}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
SETTLED_S = 3.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for good; by default of this boot of this host, outside of other containers."""

    pid: int
    start_ticks: int
    host: str = field(default_factory=reaper.host)
    boot_id: str = field(default_factory=reaper.boot_id)
    pid_namespace: int = field(default_factory=reaper.pid_namespace)

    @property
    def here(self) -> bool:
        """Whether its pid means something: in this boot of this host, and among our processes."""
        return self.boot_id == reaper.boot_id() and self.pid_namespace == reaper.pid_namespace()

    @property
    def elsewhere(self) -> bool:
        """Whether another host, or another container of this one, alone knows whether it runs."""
        return not self.here and (self.host != reaper.host() or self.boot_id == reaper.boot_id())

    @property
    def place(self) -> str:
        """The host that it runs on, and if that is this one, that it is in another container."""
        other = self.elsewhere and self.boot_id == reaper.boot_id()
        return f"{self.host}, in another container" if other else self.host

    @property
    def alive(self) -> bool:
        """Whether this very process still runs here."""
        found = reaper.identity(self.pid) if self.here else None
        return found is not None and found["start_ticks"] == self.start_ticks

    @property
    def stopped(self) -> bool:
        """Whether it is stopped until SIGCONT: Ctrl-Z, a debugger."""
        seen = stat(self.pid) if self.alive else None
        return seen is not None and seen.state in STOPPED

    @property
    def hidden(self) -> bool:
        """Whether another user's process has its pid, and /proc hides which: it may be this one."""
        if not self.here or self.pid <= 0 or os.access(f"/proc/{self.pid}/stat", os.R_OK):
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, PermissionError)
        except OverflowError:  # a record edited by hand
            pass
        return False

    def send(self, number: int) -> None:
        """Signal this very process; do nothing if it has gone or is on another host."""
        try:
            handle = os.pidfd_open(self.pid)
        except (OSError, OverflowError):  # gone; or a record edited by hand
            return
        try:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class Stat(NamedTuple):
    """A process at one moment. ``exec`` changes its name, but not its start."""

    state: str
    parent_pid: int
    session: int
    terminal: bool
    start_ticks: int
    name: str


def read_proc(pid: int, name: str) -> bytes:
    """Read a short file that the kernel keeps of a process, in a third of the time of ``Path``.

    The monitor reads hundreds of them for each frame.

    Raises:
        OSError: the process has ended, or the kernel does not show it to this user.
    """
    handle = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 4096)
    finally:
        os.close(handle)


def stat(pid: int) -> Stat | None:
    """What the kernel reports of a process; ``None`` if it has ended."""
    try:
        text = read_proc(pid, "stat").decode(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if fields[0] in ENDED:
        return None
    ticks, name = int(fields[19]), head.partition("(")[2]
    return Stat(fields[0], int(fields[1]), int(fields[3]), fields[4] != "0", ticks, name)


def settled_before() -> float:
    """The start tick after which a process is young: it may be a fork about to ``exec``."""
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - SETTLED_S) * CLOCK_TICKS


def is_proven(process: Identity, role: Role, state_dir: Path, uid: int) -> bool:
    """Whether a process is what the record of an attempt says, its user's, and looks like it.

    Only then may it be signalled: a record proves nothing, for anyone can write another process
    into a file. The command line of the reaper names the attempt's state folder; torchrun is a
    child of that reaper, or was started with the attempt's environment.
    """
    if user(process.pid) != uid:
        return False
    if role == "reaper":
        looks = _reaps(process.pid, state_dir, uid)
    else:
        beats = _variable(process.pid, heartbeat.BEAT_DIR_VARIABLE)
        parent = stat(process.pid)
        looks = is_same_folder(beats, state_dir / paths.BEATS) or (
            parent is not None and _reaps(parent.parent_pid, state_dir, uid)
        )
    return looks and process.alive  # last: until then the pid was not given to another process


def holds_open(process: Identity, uid: int, file: os.stat_result) -> bool:
    """Whether a process is a user's, runs a Python, and has a file open, as the kernel says.

    If it does not show its files to this user, it counts as one.
    """
    if user(process.pid) != uid or not process.alive:
        return False
    folder = f"/proc/{process.pid}"
    try:
        program = Path(folder, "exe").readlink().name
        has_it = any(_opens(f"{folder}/fd/{one}", file) for one in os.listdir(f"{folder}/fd"))  # noqa: PTH208 - names are all it takes
    except PermissionError:
        return process.alive
    except OSError:
        return False
    return has_it and program.startswith(("python", "pypy")) and process.alive


def user(pid: int) -> int | None:
    """The uid of a process; ``None`` if it has gone, or cannot be seen."""
    for line in _listed(pid, "status", "\n"):
        name, _, uids = line.partition(":")
        if name == "Uid":
            return int(uids.split()[0])
    return None


def _reaps(pid: int, state_dir: Path, uid: int) -> bool:
    """Whether a process is a user's, and by its command line the reaper of an attempt."""
    if user(pid) != uid:
        return False
    words = _listed(pid, "cmdline")
    return any(
        Path(program).name == Path(reaper.__file__).name and is_same_folder(folder, state_dir)
        for program, folder in pairwise(words)
    )


def _variable(pid: int, name: str) -> str:
    """A variable that a process was started with; empty if it has none, or hides it."""
    found = (word.partition("=") for word in _listed(pid, "environ"))
    return next((value for key, _, value in found if key == name), "")


def _listed(pid: int, file: str, end: str = "\0") -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes()).split(end)
    except OSError:
        return []


def is_same_folder(folder: str, other: Path) -> bool:
    """Whether two paths lead to one folder; links may lead there."""
    return bool(folder) and os.path.realpath(folder) == os.path.realpath(other)


def _opens(descriptor: str, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(descriptor), file)  # noqa: PTH116 - a descriptor
    except OSError:
        return False


def proven(state_dir: Path, role: Role) -> Identity | None:
    """A process of an attempt by its record; a living one only if it proves to be that one."""
    found, uid = local(state_dir, role), owners.owner(state_dir, follow=True)
    if found is None or not found.alive:
        return found
    return found if uid is not None and is_proven(found, role, state_dir, uid) else None


def local(state_dir: Path, process: Role) -> Identity | None:
    """A process of an attempt, torchrun or the reaper, if it was started here in this boot."""
    found = recorded(state_dir, process)
    return found if found is not None and found.here else None


def recorded(state_dir: Path, process: Role) -> Identity | None:
    """A process of an attempt as the reaper recorded it, on any host."""
    believed = owners.believed(state_dir.parents[1])  # of the run's folder
    found = files.read_json(state_dir / reaper.PROCESS, files.LONGEST_RECORD, believed)
    return parse((found or {}).get(process))


def parse(record: object) -> Identity | None:
    """An identity from JSON; ``None`` if it is not one."""
    if not isinstance(record, dict):
        return None
    pid, ticks, host, boot_id = map(record.get, ("pid", "start_ticks", "host", "boot_id"))
    namespace = record.get("pid_namespace", reaper.pid_namespace())
    if not (isinstance(pid, int) and isinstance(ticks, int) and isinstance(namespace, int)):
        return None
    if not (isinstance(host, str) and isinstance(boot_id, str)):
        return None
    return Identity(pid, ticks, host, boot_id, namespace)
