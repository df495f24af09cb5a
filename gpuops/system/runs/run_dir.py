"""The run folder: what was launched, what happened, where it wrote. Readable by a person.

::

    runs/<run_id>/
      plan.json                     what was launched; `launch --resume RUN` starts it again
      events.jsonl                  what happened, a line each
      environment.json              where it ran: host, GPUs, versions
      telemetry.jsonl               what was seen while it ran: step, loss, GPUs
      diagnosis/                    why it hung or failed
      logs/attempt-1/agent.log      what torchrun said
      logs/attempt-1/rank-0/        what rank 0 said: stdout.log, stderr.log
      state/attempt-1/              heartbeats, process.json, exit.json
      train.log metrics.jsonl tensorboard/ checkpoints/ config_used.yaml    the trainer's own
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuops import heartbeat
from gpuops.core.run.record import Attempt, RunRecord, status
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.system import files
from gpuops.system.processes import identity

if TYPE_CHECKING:
    from gpuops.core.launch.plan import LaunchPlan

RUNS_VARIABLE = "GPUOPS_RUNS_DIR"
OUTPUTS = (
    "train.log",
    "metrics.jsonl",
    "tensorboard",
    "checkpoints",
    "config_used.yaml",
)


class RunTakenError(GpuopsError):
    """Another launch of the same second has taken the name."""


def runs_dir(given: Path | None) -> Path:
    """The folder of all runs: the given one, ``$GPUOPS_RUNS_DIR``, or ./runs."""
    return (given or Path(os.environ.get(RUNS_VARIABLE) or "runs")).absolute()


def new_run_id(runs: Path, name: str, now_s: float) -> str:
    """A name that sorts by time and is not taken yet: ``20261121-061230-rvq``."""
    typeable = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now_s))}-{typeable}"
    number, run_id = 1, stem
    while files.exists(runs / run_id):
        number += 1
        run_id = f"{stem}-{number}"
    return run_id


def create(plan: LaunchPlan) -> None:
    """Make the run's folder (on its first attempt) and the attempt's folders, and keep the plan.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    root = Path(plan.run_dir)
    try:
        root.mkdir(parents=True, exist_ok=plan.attempt > 1)
        Path(plan.state_dir, "beats").mkdir(parents=True)
        Path(plan.log_dir).mkdir(parents=True)
    except FileExistsError as error:
        raise RunTakenError(
            f"the run folder {root} was taken by another launch just now.", "Launch again."
        ) from error
    except OSError as error:
        raise GpuopsError(
            f"the run folder {root} cannot be made: {error.strerror}.",
            "Choose another place with `--runs-dir DIR`.",
        ) from error
    for folder in (root, root / "diagnosis"):
        files.sweep(folder)  # of a supervisor that was killed
    files.write_json(root / "plan.json", asdict(plan))


def link_outputs(root: Path, out_dir: Path) -> None:
    """Where a trainer writes elsewhere, the run folder links to it."""
    if out_dir.absolute() == root.absolute():
        return
    try:
        for name in OUTPUTS:
            files.link(root / name, str(out_dir.absolute() / name))
    except OSError as error:
        raise GpuopsError(
            f"{root} cannot link to {out_dir}: {error.strerror}.",
            "Let the trainer write into the run's folder: leave out --out-dir.",
        ) from error


def link_rank_logs(plan: LaunchPlan) -> None:
    """Give torchrun's own log folders (``<id>_<random>/attempt_0/<rank>``) names to find."""
    folder = Path(plan.log_dir)
    for nested in folder.glob("*/attempt_0/*"):
        if nested.name.isdigit():
            with contextlib.suppress(OSError):  # on a full disk the job still matters more
                files.link(folder / f"rank-{nested.name}", str(nested.relative_to(folder)))


def record(root: Path, event: str, **fields: object) -> None:
    """Append one event. A single small write: events of two writers never mix."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}).encode() + b"\n"
    with contextlib.suppress(OSError), (root / "events.jsonl").open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            torn = file.read(1) != b"\n"  # a crash or a full disk cut the line before
            line = b"\n" + line if torn else line
        file.write(line)


def events(root: Path) -> list[dict[str, Any]]:
    """All whole events of a run."""
    return json_lines(root / "events.jsonl")


def was_watched(root: Path, attempt: int) -> bool:
    """Whether somebody saw an attempt end."""
    ended = (event for event in events(root) if event.get("event") == "attempt_ended")
    return any(event.get("attempt") == attempt for event in ended)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines; a half-written last line is not there yet."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return parse_json_lines(text.split("\n"))


def parse_json_lines(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects among some lines."""
    found: list[dict[str, Any]] = []
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def next_attempt(root: Path) -> int:
    """The number of the attempt to come; one that was only half begun is not begun again."""
    begun = (_numbers("attempt-", root / folder) for folder in ("state", "logs"))
    return max((number for numbers in begun for number in numbers), default=0) + 1


def attempts(root: Path) -> tuple[Attempt, ...]:
    """Every attempt of a run, oldest first."""
    numbers = _numbers("attempt-", root / "state")
    return tuple(_attempt(root / "state" / f"attempt-{number}", number) for number in numbers)


def _attempt(state: Path, number: int) -> Attempt:
    started, ended = (
        files.read_json(state / "process.json"),
        files.read_json(state / "exit.json"),
    )
    keepers = (identity.reaper_identity(state), identity.agent_identity(state))
    code = _number(ended, "returncode")
    return Attempt(
        number=number,
        started_at=_number(started, "started_at"),
        ended_at=_number(ended, "ended_at"),
        returncode=None if code is None else int(code),
        alive=ended is None and any(keeper is not None and keeper.alive for keeper in keepers),
    )


def _number(record: dict[str, Any] | None, key: str) -> float | None:
    value = record.get(key) if record else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def load(root: Path) -> RunRecord | None:
    """A run as its folder tells it; ``None`` where the folder is no run."""
    plan = files.read_json(root / "plan.json")
    if plan is None or not isinstance(plan.get("run_id"), str):
        return None
    known = attempts(root)
    beats = (
        heartbeat.read_all(root / "state" / f"attempt-{known[-1].number}" / "beats")
        if known
        else []
    )
    steps = [beat.step for beat in beats if beat.step is not None]
    totals = [beat.total_steps for beat in beats if beat.total_steps is not None]
    target, workers = plan.get("target"), plan.get("nproc_per_node")
    return RunRecord(
        run_id=plan["run_id"],
        path=str(root),
        target=str(target.get("name", "?")) if isinstance(target, dict) else "?",
        profile=str(plan.get("profile", "?")),
        workers=workers if isinstance(workers, int) else 0,
        status=status(events(root), known),
        started_at=known[0].started_at if known else None,
        ended_at=known[-1].ended_at if known else None,
        attempts=known,
        step=min(steps) if steps else None,
        total_steps=totals[0] if totals else None,
    )


def load_all(runs: Path) -> list[RunRecord]:
    """Every run of a folder, newest first; what is no run is passed over.

    Raises:
        MachineError: the folder cannot be read.
    """
    try:
        names = sorted(os.listdir(runs), reverse=True)  # noqa: PTH208 - names are all it takes
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MachineError(
            f"the folder of runs {runs} cannot be read: {error.strerror}."
        ) from error
    found = [load(runs / name) for name in names]
    return [run for run in found if run is not None]


def find(runs: Path, reference: str) -> Path:
    """The run that a name, the beginning of one, a path, or ``last`` means.

    Raises:
        UsageError: none or several are meant.
    """
    as_path = Path(reference)
    if "/" in reference and files.is_file(as_path / "plan.json"):
        return as_path.absolute()
    known = [Path(run.path) for run in load_all(runs)]
    if reference == "last" and known:
        return known[0]
    exact = [path for path in known if path.name == reference]
    matches = exact or [path for path in known if reference in path.name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            f"{reference!r} means {len(matches)} runs: {_names(matches)}.",
            "Type more of the name.",
        )
    hint = f"There are: {_names(known)}." if known else f"{runs} holds no runs yet."
    raise UsageError(f"there is no run {reference!r} in {runs}.", hint)


def rank_log(root: Path, attempt: int, rank: int, stream: str) -> Path:
    """Where a rank's ``stdout`` or ``stderr`` of an attempt goes (it may not be there yet)."""
    return root / "logs" / f"attempt-{attempt}" / f"rank-{rank}" / f"{stream}.log"


def _names(paths: Sequence[Path]) -> str:
    shown = ", ".join(path.name for path in paths[:5])
    return f"{shown}, ..." if len(paths) > 5 else shown


def checkpoints(folder: Path) -> list[tuple[str, str]]:
    """The checkpoints in a folder, oldest first, each with what points to it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    names: dict[str, list[str]] = {}
    for entry in entries:
        if entry.is_symlink():
            names.setdefault(entry.resolve().name, []).append(entry.name)
    kept = [entry.name for entry in entries if not entry.is_symlink()]
    return [(name, ", ".join(names.get(name, []))) for name in kept if not name.startswith(".")]


def ranks_with_logs(root: Path, attempt: int) -> list[int]:
    """The ranks of an attempt that have logs."""
    folder = root / "logs" / f"attempt-{attempt}"
    return _numbers("rank-", folder)


def ranks_with_words(root: Path, attempt: int) -> list[int]:
    """The ranks of an attempt whose logs are not empty."""
    return [
        rank
        for rank in ranks_with_logs(root, attempt)
        if any(_size(rank_log(root, attempt, rank, name)) for name in ("stdout", "stderr"))
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _numbers(prefix: str, folder: Path) -> list[int]:
    """The numbers of the entries that are named ``<prefix><number>``."""
    try:
        names = [name.removeprefix(prefix) for name in os.listdir(folder)]  # noqa: PTH208 - names are all it takes
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
