"""``gpuops logs``: the output of a rank."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gpuops.cli import output
from gpuops.cli.runs import Run, find_to_show
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.runs import ownership, rank_logs, records
from gpuops.system.tail import Tail
from gpuops.text import many

POLL_S = 0.2
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(rich_help_panel="Jobs")
def logs(
    run: Run,
    rank: Annotated[int, typer.Option("--rank", "-r", min=0, help="Which rank.")] = 0,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Which attempt.  [default: the last]")
    ] = None,
    runs_dir: output.RunsDir = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the output until the run ends.")
    ] = False,
    agent: Annotated[bool, typer.Option("--agent", help="The output of torchrun itself.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show the output of a rank of a run: its stdout on stdout, its stderr on stderr."""
    root = find_to_show(run, runs_dir, "logs")
    attempts = records.attempts(root)
    if not attempts:
        raise GpuopsError(f"run {root.name} has not been started yet.")
    number = attempt or attempts[-1].number
    if number not in [attempt.number for attempt in attempts]:
        count = many(len(attempts), "attempt")
        raise GpuopsError(f"run {root.name} has {count}, no attempt {number}.")
    sources = [(root / paths.agent_log(number), sys.stdout)]
    if not agent:
        streams = (("stdout", sys.stdout), ("stderr", sys.stderr))
        sources = [(root / paths.rank_log(number, rank, name), stream) for name, stream in streams]
    _refuse_hidden(root, [path for path, _ in sources])
    if not follow:
        _note_if_silent(root, number, rank, [path for path, _ in sources])
    gc.enable()
    tails = [(Tail(path), stream) for path, stream in sources]
    try:
        while True:
            alive = follow and any(a.alive for a in records.attempts(root) if a.number == number)
            for tail, stream in tails:
                for line in tail.lines(flush=not alive):
                    _print(line, stream, rank, as_json=as_json)
            if not alive:
                return
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _refuse_hidden(root: Path, paths: list[Path]) -> None:
    """Refuse logs that are there and may not be read: torchrun's folders are its user's alone."""
    if all(ownership.is_hidden(path) for path in paths):
        raise GpuopsError(
            f"these logs of run {root.name} belong to {ownership.owner_name(root)}, "
            "and you may not read them.",
            f"`{ownership.as_owner(root, 'logs')}` shows them.",
        )


def _note_if_silent(root: Path, attempt: int, rank: int, paths: list[Path]) -> None:
    if not any(files.exists(path) for path in paths):
        listed = ", ".join(map(str, rank_logs.ranks(root, attempt))) or "none yet"
        raise GpuopsError(
            f"rank {rank} of run {root.name} has no log.",
            f"Ranks with a log: {listed}; `--agent` shows the output of torchrun.",
        )
    if not any(files.tail(path, 1) for path in paths):
        others = ", ".join(map(str, rank_logs.ranks_with_output(root, attempt))) or "none"
        output.note(f"rank {rank} has printed nothing; ranks with output: {others}.")


def _print(line: str, stream: TextIO, rank: int, *, as_json: bool) -> None:
    if as_json:
        row = {"rank": rank, "stream": stream.name.strip("<>"), "line": line}
        print(json.dumps(row, ensure_ascii=False), flush=True)
    else:
        print(line, file=stream, flush=True)
