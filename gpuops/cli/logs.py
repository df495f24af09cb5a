"""``gpuops logs``: the output of a rank."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.runs import Run, find_to_show
from gpuops.cli.streams import raw
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.runs import ownership, rank_logs, records
from gpuops.system.tail import Tail
from gpuops.text import coloured, many

POLL_S = 0.2
STREAMS = ("stdout", "stderr")
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
    if agent:
        sources = {"stdout": root / paths.agent_log(number)}
    else:
        sources = {name: root / paths.rank_log(number, rank, name) for name in STREAMS}
    _refuse_hidden(root, list(sources.values()))
    if not follow:
        _note_if_silent(root, number, rank, list(sources.values()))
    gc.enable()
    tails = {name: Tail(path, errors="surrogateescape") for name, path in sources.items()}
    try:
        while True:
            alive = follow and any(a.alive for a in records.attempts(root) if a.number == number)
            for name, tail in tails.items():
                _print(tail.lines(flush=not alive), name, rank, as_json=as_json)
            if not alive:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for name in (name for name, tail in tails.items() if tail.left_out):
        output.note(f"this is the end of a long log; the whole log is {sources[name]}")


def _refuse_hidden(root: Path, paths: list[Path]) -> None:
    """Refuse logs that are there and may not be read: torchrun's folders are its user's alone."""
    if all(ownership.is_hidden(path) for path in paths):
        raise GpuopsError(
            f"these logs of run {root.name} belong to {ownership.owner_name(root)}, "
            "and you may not read them.",
            f"`{ownership.as_owner(root, 'logs')}` shows them.",
        )


def _note_if_silent(root: Path, attempt: int, rank: int, paths: list[Path]) -> None:
    sizes = [files.size(path) for path in paths]
    if all(size is None for size in sizes):
        listed = ", ".join(map(str, rank_logs.ranks(root, attempt))) or "none yet"
        raise GpuopsError(
            f"rank {rank} of run {root.name} has no log.",
            f"Ranks with a log: {listed}; `--agent` shows the output of torchrun.",
        )
    if not any(sizes):
        others = ", ".join(map(str, rank_logs.ranks_with_output(root, attempt))) or "none"
        output.note(f"rank {rank} has printed nothing; ranks with output: {others}.")


def _print(lines: Sequence[str], name: str, rank: int, *, as_json: bool) -> None:
    """Print lines to the stream of that name: in their colours on a terminal, else as they are."""
    stream = getattr(sys, name)
    if as_json:
        rows = ({"rank": rank, "stream": name, "line": line} for line in lines)
        whole = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        print(output.escaped(whole), end="", flush=True)
        return
    if stream.isatty():
        raw(stream).write("".join(f"{coloured(line)}\n" for line in lines))
    else:
        whole = "".join(f"{line}\n" for line in lines)
        raw(stream).write_bytes(whole.encode("utf-8", "surrogateescape"))
    raw(stream).flush()
