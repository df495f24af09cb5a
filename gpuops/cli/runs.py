"""``gpuops runs``: the runs that were launched, and how they went."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.core.run import paths
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import files
from gpuops.system.runs import checkpoints, events, ownership, records, run_dir, supervisor_lock

LAST_ROWS = 64_000  # bytes of the figures, for the last of them
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


def complete_run(incomplete: str) -> list[str]:
    """The runs whose name begins with a word."""
    names = [run.run_id for run in records.load_all(run_dir.runs_dir(None))]
    return [name for name in ["last", *names] if name.startswith(incomplete)]


Run = Annotated[
    str,
    typer.Argument(
        help="A run: its name, a part of it, its folder, or `last`.", autocompletion=complete_run
    ),
]


def find_to_show(run: str, runs_dir: Path | None, command: str) -> Path:
    """The folder of a run; if it is another user's, this is noted, with what may not be read.

    Raises:
        UsageError: there is no such run, or nothing of it may be read.
    """
    root = records.find(run_dir.runs_dir(runs_dir), run, command)
    if not ownership.is_ours(root):
        hidden = ownership.hidden_parts(root)
        shows = f"`{ownership.as_owner(root, command)}` shows them"
        unread = f"; you may not read: {', '.join(hidden)} ({shows})" if hidden else ""
        output.note(f"run {root.name} belongs to {ownership.owner_name(root)}{unread}.")
    return root


def require_active(root: Path, hint: str) -> None:
    """Refuse a run that does not run and has no supervisor.

    Raises:
        UsageError: it is on another host, or it is over: ``hint`` says what then, with RUN for its
            name.
    """
    records.require_this_host(root)
    if not records.is_running(root) and supervisor_lock.holder(root) is None:
        raise UsageError(f"run {root.name} is not running.", hint.replace("RUN", root.name))


@app.command("list")
def list_(runs_dir: output.RunsDir = None, *, as_json: output.Json = False) -> None:
    """List all runs, the newest first."""
    runs = run_dir.runs_dir(runs_dir)
    found = records.load_all(runs)
    if hidden := records.find_hidden(runs):
        output.note(f"there is {ownership.describe_hidden(hidden)} in {runs}.")
    if not found and not hidden and not as_json:
        output.comment(f"no runs in {runs} yet; `gpuops launch rvq --profile cpu` makes one.")
        return
    output.answer(found, lambda: output.ui("runs").runs(found, time.time()), as_json=as_json)


@app.command()
def show(run: Run, runs_dir: output.RunsDir = None, *, as_json: output.Json = False) -> None:
    """Show one run: what was launched, its events and its checkpoints."""
    root = find_to_show(run, runs_dir, "runs show")
    record = records.load(root)
    if record is None:
        raise GpuopsError(f"{root} is not a run folder any more.")
    happened = events.read(root)
    listed = _checkpoints(root / paths.CHECKPOINTS)
    figures = _last_figures(root)
    output.answer(
        {"run": record, "events": happened, "checkpoints": listed, "figures": figures},
        lambda: output.ui("runs").run(record, happened, listed, figures),
        as_json=as_json,
    )


def _checkpoints(folder: Path) -> list[tuple[str, str]]:
    """Each with what points to it, and what is wrong with it; of very many, with the newest."""
    found, listed = checkpoints.list_checkpoints(folder), []
    manifests = [folder / name / checkpoints.MANIFEST for name, _ in reversed(found)]
    known = set(files.affordable(manifests))
    for name, about in found:
        looked_at, left = folder / name / checkpoints.MANIFEST in known, checkpoints.aside(name)
        problem = checkpoints.damage(folder / name) if looked_at else None
        state = f"damaged: {problem}" if problem else "left aside" if left else ""
        listed.append((name, ", ".join(filter(None, (about, state)))))
    return listed


def _last_figures(root: Path) -> dict[str, float]:
    last = (files.read_json_lines(root / paths.METRICS, LAST_ROWS) or [{}])[-1]
    return {k: v for k, v in last.items() if isinstance(v, (int, float)) and k != "time"}
