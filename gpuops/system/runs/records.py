"""Runs and their attempts, read from their folders."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuops import reaper
from gpuops.core.run import paths
from gpuops.core.run.record import LAST_S, Attempt, RunRecord, status
from gpuops.errors import MachineError, UsageError
from gpuops.system import files, owners
from gpuops.system.processes import identity, members
from gpuops.system.runs import beats as attempt_beats
from gpuops.system.runs import events, ownership, supervisor_lock
from gpuops.text import one_line

RUN_ID = re.compile(r"\d{8}-\d{6}-.+", re.DOTALL)
MOST_CODES = 256
LONGEST_WORD = 200


def nodes(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a plan as its file describes them; what has another form is left out."""
    return objects(plan.get("nodes"))


def objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def next_attempt(root: Path) -> int:
    """The number of the next attempt: no number is used again, not even of one half made."""
    begun = (files.numbered(root / folder, paths.ATTEMPT) for folder in (paths.STATES, paths.LOGS))
    return max((number for numbers in begun for number in numbers), default=0) + 1


def attempts(root: Path) -> tuple[Attempt, ...]:
    """Every attempt of a run, oldest first."""
    numbers = files.numbered(root / paths.STATES, paths.ATTEMPT)
    believed = owners.believed(root)
    return tuple(_attempt(root / paths.state(number), number, believed) for number in numbers)


def is_running(root: Path) -> bool:
    """Whether the newest attempt of a run lives, or something is left of it."""
    known = attempts(root)
    return bool(known) and (known[-1].alive or bool(_left(root, known[-1])))


def describe_left(root: Path) -> str:
    """What lives on of the newest attempt of a run after its reaper and torchrun; else empty."""
    known = attempts(root)
    return members.format_members(_left(root, known[-1])) if known else ""


def _left(root: Path, newest: Attempt) -> tuple[members.Member, ...]:
    state = root / paths.state(newest.number)
    launcher = (identity.local(state, name) for name in ("reaper", "agent"))
    known_alive = any(process is not None and process.alive for process in launcher)
    return () if known_alive or newest.elsewhere else members.left(state)


def _attempt(state: Path, number: int, believed: Collection[int]) -> Attempt:
    started = files.read_json(state / reaper.PROCESS, files.LONGEST_RECORD, believed)
    ended = files.read_json(state / reaper.EXIT, files.LONGEST_RECORD, believed)
    recorded = (identity.parse((started or {}).get(role)) for role in identity.ROLES)
    processes = [process for process in recorded if process is not None]
    return Attempt(
        number=number,
        started_at=_time(started, "started_at"),
        ended_at=_time(ended, "ended_at"),
        returncode=_code(ended),
        alive=(ended is None and any(process.alive for process in processes))
        or bool(members.alive(members.read(state))),
        hidden=ended is None and any(process.hidden for process in processes),
        elsewhere=next((process.place for process in processes if process.elsewhere), None),
    )


def _time(record: Mapping[str, Any] | None, key: str) -> float | None:
    """A moment, in seconds since the epoch."""
    value: Any = record.get(key) if record else None
    return value if type(value) in {int, float} and 0 < value < LAST_S else None


def _code(record: Mapping[str, Any] | None) -> int | None:
    """How a process ended: negative, by which signal."""
    value = record.get("returncode") if record else None
    return value if type(value) is int and abs(value) < MOST_CODES else None


def require_this_host(root: Path) -> None:
    """Refuse a run of another host: its processes can be found and signalled only there.

    Raises:
        UsageError: it was started on another host, and its end is not recorded.
    """
    run, supervisor = load(root), supervisor_lock.holder(root)
    host = run.attempts[-1].elsewhere if run is not None and run.status == "elsewhere" else None
    if supervisor is not None and supervisor.elsewhere:
        host = supervisor.place
    if host is not None:
        raise UsageError(
            f"run {root.name} was started on {host}, which alone can tell whether it runs.",
            f"Type this command on {host}.",
        )


def require_proven(root: Path) -> None:
    """Refuse a run whose record names a process that is not the run's: it must not be signalled.

    Raises:
        UsageError: a process that it names lives, and is another one, or another user's.
    """
    uid = ownership.owner(root)
    states = (root / paths.state(attempt.number) for attempt in attempts(root))
    for state, role in itertools.product(states, identity.ROLES):
        named = identity.local(state, role)
        if named is not None and named.alive and not identity.is_proven(named, role, state, uid):
            raise UsageError(
                f"this folder names pid {named.pid}, which is not a process of run {root.name}. "
                "Nothing was signalled.",
                "Was the folder moved, copied or changed? `gpuops kill-hung --dry-run` lists the "
                "jobs of this host.",
            )


def load(root: Path) -> RunRecord | None:
    """A run, read from its folder; ``None`` if the folder is not a run."""
    plan = _plan(root)
    if plan is None:
        return None
    known = attempts(root)
    beats = attempt_beats.read(root / paths.beats(known[-1].number)) if known else []
    steps = [beat.step for beat in beats if beat.step is not None]
    totals = [beat.total_steps for beat in beats if beat.total_steps is not None]
    target = plan.get("target")
    ranks = [node.get("ranks") for node in nodes(plan)]
    uid = ownership.owner(root)
    hidden = ownership.hidden_parts(root) if uid != os.geteuid() else ()
    told = status(events.read(root, events.ENDING), known)
    return RunRecord(
        run_id=one_line(plan["run_id"], LONGEST_WORD),
        path=str(root),
        target=_word(target.get("name") if isinstance(target, dict) else None),
        profile=_word(plan.get("profile")),
        workers=sum(len(some) for some in ranks if isinstance(some, list)),
        status="hidden" if told == "lost" and paths.STATES in hidden else told,
        started_at=known[0].started_at if known else None,
        ended_at=known[-1].ended_at if known else None,
        attempts=known,
        step=min(steps) if steps else None,
        total_steps=totals[0] if totals else None,
        owner=owners.name(uid),
        ours=uid == os.geteuid(),
        hidden=hidden,
        supervisor_stopped=supervisor_lock.stopped(root),
    )


def _plan(root: Path) -> dict[str, Any] | None:
    """What a run's folder says was launched; ``None`` if it is not a run's."""
    plan = files.read_json(root / paths.PLAN)
    return plan if plan is not None and isinstance(plan.get("run_id"), str) else None


def _word(value: object) -> str:
    return one_line(value, LONGEST_WORD) if isinstance(value, str) else "?"


def load_all(runs: Path) -> list[RunRecord]:
    """Every run of a folder that may be read, newest first; other entries are skipped.

    Raises:
        MachineError: the folder cannot be read.
    """
    return [run for name in _names(runs) if (run := load(runs / name)) is not None]


def find_hidden(runs: Path) -> list[Path]:
    """The runs of a folder that this user may not read.

    Raises:
        MachineError: the folder cannot be read.
    """
    named = (runs / name for name in _names(runs) if RUN_ID.fullmatch(name))
    return [root for root in named if ownership.is_hidden(root / paths.PLAN)]


def _names(runs: Path) -> list[str]:
    """The entries of a folder of runs, the newest first."""
    try:
        return sorted(os.listdir(runs), reverse=True)  # noqa: PTH208 - names are all it takes
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        whose = owners.other(runs)
        raise MachineError(
            f"the runs folder {runs}{f' of {whose}' if whose else ''} cannot be read: "
            f"{error.strerror}."
        ) from error


def holder(reference: str) -> Path | None:
    """The run that a path leads into, such as that of one of its checkpoints."""
    above = Path(reference).absolute().parents if "/" in reference else ()
    return next((folder for folder in above if files.is_file(folder / paths.PLAN)), None)


def find(runs: Path, reference: str, command: str = "runs show") -> Path:
    """The run that a name, the beginning of one, or a path means; ``last`` is one's own last.

    ``command`` is what the user wants to do with it.

    Raises:
        UsageError: no run or several runs fit, or it may not be read.
    """
    as_path = Path(reference)
    if "/" in reference and files.is_file(as_path / paths.PLAN):
        return as_path.absolute()
    known = [runs / name for name in _names(runs) if files.is_file(runs / name / paths.PLAN)]
    if reference == "last" and (newest := next(filter(_plan, known), None)) is not None:
        return _last_of_ours(known, newest, command)
    exact = [path for path in known if path.name == reference]
    matches = list(filter(_plan, exact or [path for path in known if reference in path.name]))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            f"{reference!r} means {len(matches)} runs: {_listed(matches)}.",
            "Type more of the name.",
        )
    hidden = find_hidden(runs)
    meant = as_path.absolute() if "/" in reference else runs / reference
    if hidden and reference == "last":
        meant = hidden[0]
    if ownership.is_hidden(meant / paths.PLAN):
        raise UsageError(
            f"run {meant.name} belongs to {ownership.owner_name(meant)}, and you may not read it.",
            f"`{ownership.as_owner(meant, command)}` does it as its owner.",
        )
    hint = f"There are: {_listed(known)}." if known else f"{runs} holds no runs yet."
    if hidden:
        hint = f"{hint} There is {ownership.describe_hidden(hidden)}."
    raise UsageError(f"there is no run {reference!r} in {runs}.", hint)


def _last_of_ours(known: Sequence[Path], newest: Path, command: str) -> Path:
    ours = (path for path in known if ownership.owner(path) == os.geteuid())
    own = next(filter(_plan, ours), None)
    if own is not None:
        return own
    whose = ownership.owner_name(newest)
    raise UsageError(
        f"no run here is yours: the newest, {newest.name}, belongs to {whose}.",
        f"Name it to look at it; `{ownership.as_owner(newest, command)}` acts as its owner.",
    )


def _listed(paths: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in paths[:5])
    return f"{shown}, ..." if len(paths) > 5 else shown
