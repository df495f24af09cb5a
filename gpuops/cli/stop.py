"""``gpuops stop``: let a run save a checkpoint and end."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from gpuops.cli import exit_summary, output
from gpuops.cli.runs import Run
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.system.runs import records, run_dir, supervisor_lock

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
    root = records.find(run_dir.runs_dir(runs_dir), run)
    records.insist_here(root)
    supervisor = supervisor_lock.holder(root)
    if supervisor is not None:
        supervisor_lock.retire([root], now=now)
    if not records.is_running(root):
        if supervisor is None:
            raise UsageError(
                f"run {root.name} is not running.",
                f"`gpuops runs show {root.name}` tells how it went.",
            )
        print(f"{root.name} has stopped.")
        return

    def ask(_run_id: str) -> None:
        for _ in range(2 if now else 1):
            signal.raise_signal(signal.SIGTERM)

    exit_summary.supervise_to_the_end(root, begun=ask)
