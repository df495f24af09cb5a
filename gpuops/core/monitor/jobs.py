"""The training jobs of a host, found among its processes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from gpuops.core.run import paths

if TYPE_CHECKING:  # `runs list` finds jobs without GPUs, and must answer at once
    from gpuops.core.machine.device import GpuInventory

Launcher = Literal["torchrun", "lost", "unknown"]

# The only environment variables that are read of a process.
VARIABLES = (
    "RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT",
    "GPUOPS_RUN_ID", "GPUOPS_BEAT_DIR",
)  # fmt: skip
_SHARED = VARIABLES[2:]
_RUNS_MODULE = "gpuops/run_module.py"
_AGENTS = {"torch.distributed.run", "torch.distributed.launch"}
# They start programs, and adopt none unless they are pid 1.
_STARTERS = {
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "busybox", "sshd",
    "tmux", "screen", "SCREEN", "script", "login", "su", "sudo", "conmon", "containerd-shim",
    "containerd-shim-runc-v2",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process; ``pid`` and ``start_ticks`` together identify it.

    ``session`` is the pid of the leader of its session, ``terminal`` whether that has a terminal;
    ``state`` is the kernel's letter (R S D T t). ``ours``: it is this user's. ``python``: it runs a
    Python, whatever its name. ``environment`` holds those of ``VARIABLES`` that it was started
    with; ``None`` if they may not be read. ``gpus`` are the indices of the GPUs that list it,
    ``gpu_memory_bytes`` the memory that it holds there. The monitor asks the same process again
    at each frame, so what follows from its fields is kept.
    """

    pid: int
    start_ticks: int
    parent_pid: int
    session: int
    state: str
    user: str | None
    ours: bool
    argv: tuple[str, ...]
    python: bool
    terminal: bool = False
    environment: Mapping[str, str] | None = field(default_factory=dict)
    started_at_s: float | None = None
    gpus: tuple[int, ...] = ()
    gpu_memory_bytes: int | None = None

    @cached_property
    def program(self) -> str:
        """The module's name or script's path that it runs; empty if it is not a Python."""
        return python_program(self.argv) or ""

    @property
    def leads_session(self) -> bool:
        """Whether its session is its own, without a terminal: torchrun starts each rank in one."""
        return self.session == self.pid and not self.terminal

    @cached_property
    def rank(self) -> int | None:
        """The rank that it is, or that it was started by."""
        return self._int_variable("RANK")

    @cached_property
    def local_rank(self) -> int | None:
        """The same among the ranks of its host."""
        return self._int_variable("LOCAL_RANK")

    @cached_property
    def launch(self) -> tuple[str | None, ...]:
        """The variables that all processes of one launch share."""
        return tuple(map(self.variable, _SHARED))

    def variable(self, name: str) -> str | None:
        """An environment variable that it was started with."""
        return (self.environment or {}).get(name)

    def _int_variable(self, name: str) -> int | None:
        """An environment variable that is a whole number."""
        value = self.variable(name) or ""
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One running launch: torchrun, its ranks, and the processes they started (data loaders).

    ``launcher`` is ``lost`` if torchrun has died and its ranks are still alive: nothing will end
    them. It is ``unknown`` if something else has started them. ``run_id``, ``run_dir`` and
    ``attempt`` identify the gpuops run; ``reaper`` and ``supervisor_pid`` its processes of gpuops.
    ``certain`` are the pids of those that belong to it without doubt, each by itself: a process may
    be a tool that outlived its rank, or have a copy of a rank's environment.
    """

    user: str | None
    ours: bool
    launcher: Launcher
    ranks: tuple[Process, ...]
    children: tuple[Process, ...] = ()
    agent: Process | None = None
    reaper: Process | None = None
    supervisor_pid: int | None = None
    run_id: str | None = None
    run_dir: str | None = None
    attempt: int | None = None
    certain: frozenset[int] = frozenset()

    @property
    def processes(self) -> tuple[Process, ...]:
        """All its processes except gpuops' own: the ranks first, torchrun last."""
        return (*self.ranks, *self.children, *([self.agent] if self.agent else []))

    @property
    def gpus(self) -> tuple[int, ...]:
        """The GPUs that list its processes."""
        return tuple(sorted({index for process in self.processes for index in process.gpus}))

    @property
    def gpu_memory_bytes(self) -> int | None:
        """The GPU memory that it holds; ``None`` if the driver does not report it."""
        held = [process.gpu_memory_bytes for process in self.processes]
        known = [size for size in held if size is not None]
        return sum(known) if known == held else None


@dataclass(frozen=True, slots=True)
class _Machine:
    """All processes by pid; among them gpuops' reapers, and the torchruns (``agents``).

    ``marked``: the ranks and their children. ``teams``: the torchruns by the variables that all
    processes of their jobs share.
    """

    processes: Mapping[int, Process]
    reapers: Mapping[int, Process]
    agents: Mapping[int, Process]
    marked: Mapping[int, Process]
    teams: Mapping[tuple[str | None, ...], Sequence[Process]]

    def parent(self, process: Process) -> Process | None:
        return self.processes.get(process.parent_pid)


def find_jobs(processes: Iterable[Process]) -> tuple[TrainingJob, ...]:
    """The training jobs among all processes of a host, the oldest first."""
    machine = _sort(processes)
    families: dict[int, list[Process]] = {}  # by a rank's pid: itself and its descendants
    for process in machine.marked.values():
        families.setdefault(_head(process, machine.marked).pid, []).append(process)
    teams: dict[int, list[Process]] = {pid: [] for pid in machine.agents}
    strays: dict[tuple[Launcher, tuple[str | None, ...], int], list[Process]] = {}
    helpers: dict[int, list[Process]] = {}
    for pid, family in families.items():
        head = machine.marked[pid]
        if head.parent_pid in teams:
            teams[head.parent_pid].append(head)
        elif (agent := _helped(head, machine)) is not None:  # it has left its parents
            helpers.setdefault(agent.pid, []).extend(family)
        elif (launcher := _launcher(head, machine)) is not None:
            strays.setdefault((launcher, head.launch, head.parent_pid), []).append(head)
    jobs = [
        _job(machine, "torchrun", ranks, families, machine.agents[pid], helpers.get(pid, []))
        for pid, ranks in teams.items()
        if ranks or _is_torchrun(machine.agents[pid])
    ]
    numbers = Counter((head.launch, head.rank) for heads in strays.values() for head in heads)
    twins = {key for key, count in numbers.items() if count > 1}
    for (launcher, key, _), heads in strays.items():
        job = _job(machine, launcher, heads, families)
        doubtful = {head.pid for head in heads if (key, head.rank) in twins}
        jobs.append(replace(job, certain=job.certain - doubtful) if doubtful else job)
    return tuple(sorted(jobs, key=lambda job: min(map(_age, job.processes))))


GpuUse = tuple[tuple[int, ...], int | None]
"""The GPUs that list a process, and the memory (bytes) that it holds there.

Zero if all GPUs could be read and none lists it; ``None`` if that is not known.
"""


def gpu_uses(inventory: GpuInventory | None) -> tuple[Mapping[int, GpuUse], GpuUse]:
    """The GPU use of each listed process, by pid; and that of all other processes."""
    devices = inventory.devices if inventory is not None else ()
    every = [process for device in devices for process in device.processes or ()]
    readable = bool(devices) and all(device.processes is not None for device in devices)
    # The pid of a process elsewhere means another one here; it may be one of ours, seen from there.
    readable = readable and all(process.whose != "elsewhere" for process in every)
    listed: dict[int, list[tuple[int, int | None]]] = {}
    for device in devices:
        for process in device.processes or ():
            if process.whose == "elsewhere":
                continue
            listed.setdefault(process.pid, []).append((device.index, process.memory_bytes))
    found: dict[int, GpuUse] = {}
    for pid, held in listed.items():
        sizes = [size for _, size in held if size is not None]
        known = readable and len(sizes) == len(held)
        found[pid] = tuple(dict.fromkeys(index for index, _ in held)), sum(sizes) if known else None
    return found, ((), 0 if readable else None)


def gpu_use(inventory: GpuInventory | None, pid: int) -> GpuUse:
    """The GPU use of one process."""
    found, elsewhere = gpu_uses(inventory)
    return found.get(pid, elsewhere)


def python_program(argv: Sequence[str]) -> str | None:
    """The module's name or script's path that a Python runs; ``None`` for any other command."""
    if not argv or not argv[0].rpartition("/")[2].startswith(("python", "pypy")):
        return None
    words = iter(argv[1:])
    for word in words:
        if not word.startswith("-"):
            return next(words, word) if word.endswith(_RUNS_MODULE) else word
        if word in {"-W", "-X", "--check-hash-based-pycs"}:
            next(words, None)
        elif not word.startswith(("--", "-W", "-X")):
            flags, given, module = word.partition("m")
            if "c" in flags:
                return None
            if given:
                return module or next(words, None)
    return None


def _sort(processes: Iterable[Process]) -> _Machine:
    members = {process.pid: process for process in sorted(processes, key=_age)}
    reapers = {p.pid: p for p in members.values() if p.program.endswith("gpuops/reaper.py")}
    agents = {p.pid: p for p in members.values() if _is_agent(p, reapers)}
    others = (p for p in members.values() if p.pid not in agents and p.pid not in reapers)
    marked = {p.pid: p for p in others if _is_marked(p, agents)}
    teams: dict[tuple[str | None, ...], list[Process]] = {}
    for rank in marked.values():
        agent, shared = agents.get(rank.parent_pid), rank.launch
        if agent is not None and any(shared) and agent not in teams.setdefault(shared, []):
            teams[shared].append(agent)
    return _Machine(members, reapers, agents, marked, teams)


def _is_torchrun(process: Process) -> bool:
    return process.program in _AGENTS or process.program.rpartition("/")[2] == "torchrun"


def _is_agent(process: Process, reapers: Mapping[int, Process]) -> bool:
    """Whether it is a torchrun: by its command, or started (not adopted) by a reaper."""
    return _is_torchrun(process) or (process.parent_pid in reapers and process.rank is None)


def _is_marked(process: Process, agents: Mapping[int, Process]) -> bool:
    """Whether it is a rank or was started by one. Some clusters set RANK for all processes."""
    if process.parent_pid in agents:
        return process.environment is None or process.rank is not None
    return process.rank is not None and process.local_rank is not None


def _head(process: Process, marked: Mapping[int, Process]) -> Process:
    """The rank that a process is, or that it descends from."""
    parent = marked.get(process.parent_pid)
    # Never to a younger one: it has got the pid of an ended parent, and may lead back here.
    while parent is not None and _age(parent) < _age(process):
        process, parent = parent, marked.get(parent.parent_pid)
    return process


def _age(process: Process) -> tuple[int, int]:
    return process.start_ticks, process.pid


def _helped(head: Process, machine: _Machine) -> Process | None:
    """The torchrun to whose live job a detached process belongs.

    For instance a tool that rank 0 started in the background; but not if it is older than that
    torchrun: then an earlier one has left it behind. Nor if a living shell has started it.
    """
    for agent in machine.teams.get(head.launch, ()) if _is_adopted(head, machine) else ():
        if agent.user == head.user and head.start_ticks >= agent.start_ticks:
            return agent
    return None


def _launcher(head: Process, machine: _Machine) -> Launcher | None:
    """Whether a rank without a torchrun has lost it; ``None`` if it is not a rank."""
    if not _is_elastic(head):
        return "unknown"
    if _is_adopted(head, machine):
        # Else it is a harmless tool that has outlived its job: one that uploads, say.
        return "lost" if head.python or head.gpu_memory_bytes else None
    # A rank's environment copied into a shell, to look for a mistake.
    return None if _was_typed(head, machine) else "unknown"


def _is_elastic(process: Process) -> bool:
    """Whether it has the environment that torchrun gives its ranks, or a copy of that."""
    return bool(process.variable("TORCHELASTIC_RUN_ID") or process.variable("GPUOPS_RUN_ID"))


def _is_adopted(process: Process, machine: _Machine) -> bool:
    """Whether the process that started it has died.

    Its parent is then the process that adopts orphans: pid 1, a reaper, an init of the session, and
    that is not in its session. torchrun is a Python, under any name; so a parent that is a Python
    may be its launcher.
    """
    parent = machine.parent(process)
    if parent is None:
        return process.parent_pid == 1  # invisible: processes of other users may be hidden
    if parent.pid in machine.reapers:
        return True
    if parent.python or not parent.argv or parent.session == process.session:
        return False
    return parent.pid == 1 or not _was_typed(process, machine)


def _was_typed(process: Process, machine: _Machine) -> bool:
    """Whether a living shell, or what stands for one, has started it."""
    parent = machine.parent(process)
    name = parent.argv[0].rpartition("/")[2].lstrip("-") if parent and parent.argv else ""
    return name.partition(":")[0] in _STARTERS


def _is_certain(head: Process, launcher: Launcher, machine: _Machine) -> bool:
    """Whether a process that is not the child of a torchrun is a rank without doubt.

    A copy of a rank's environment, or a tool of a rank, does not lead a session; nor is a tool
    started as ``python -u``, or uses a GPU.
    """
    if launcher == "lost":
        unbuffered = head.python and head.argv[1:2] == ("-u",)
        return head.leads_session and (unbuffered or bool(head.gpu_memory_bytes))
    started_as_rank = head.leads_session and head.python
    return not _was_typed(head, machine) and (started_as_rank or not _is_elastic(head))


def _job(
    machine: _Machine,
    launcher: Launcher,
    ranks: Sequence[Process],
    families: Mapping[int, Sequence[Process]],
    agent: Process | None = None,
    helpers: Sequence[Process] = (),
) -> TrainingJob:
    first = agent or ranks[0]
    reaper = machine.reapers.get(first.parent_pid)
    boss = machine.parent(reaper) if reaper else None
    is_gpuops = boss is not None and re.fullmatch(r"gpuops\.__main__|(.*/)?gpuops", boss.program)
    children = [child for rank in ranks for child in families[rank.pid] if child is not rank]
    members = (*ranks, first)
    sessions = {rank.session for rank in ranks if rank.leads_session}
    sure = [rank for rank in ranks if agent or _is_certain(rank, launcher, machine)]
    certain = {one.pid for rank in sure for one in families[rank.pid]}
    certain |= {
        one.pid
        for one in helpers
        if one.session in sessions or (reaper is not None and one.parent_pid == reaper.pid)
    }
    certain |= {agent.pid} if agent else set()
    beats = _first_variable(members, "GPUOPS_BEAT_DIR") or ""
    run_dir, attempt = paths.parse_beats(beats) or (None, None)
    return TrainingJob(
        user=first.user,
        ours=first.ours,
        launcher=launcher,
        ranks=tuple(sorted(ranks, key=lambda rank: -1 if rank.rank is None else rank.rank)),
        children=(*children, *helpers),
        agent=agent,
        reaper=reaper,
        supervisor_pid=boss.pid if boss and is_gpuops else None,
        run_id=_first_variable(members, "GPUOPS_RUN_ID"),
        run_dir=run_dir,
        attempt=attempt,
        certain=frozenset(certain),
    )


def _first_variable(processes: Iterable[Process], name: str) -> str | None:
    return next((value for process in processes if (value := process.variable(name))), None)
