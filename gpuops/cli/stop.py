"""``gpuops stop``: let a run save a checkpoint and end."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from gpuops.cli import exit_summary, output
from gpuops.cli.runs import Run, find_going
from gpuops.errors import EXIT_CODES_HELP
from gpuops.system.runs import records, supervisor_lock

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def stop(
    run: Run,
    runs_dir: output.RunsDir = None,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Kill it at once, without a checkpoint.")
    ] = False,
) -> None:
    """Stop a run: it saves a checkpoint and ends. Wait for that."""
    root = find_going(run, runs_dir, "`gpuops runs show RUN` tells how it went.")
    supervisor_lock.retire([root], now=now)
    if not records.is_running(root):
        print(f"{root.name} has stopped.")
        return

    def ask(_run_id: str) -> None:
        for _ in range(2 if now else 1):
            signal.raise_signal(signal.SIGTERM)

    exit_summary.supervise_to_the_end(root, begun=ask)
