"""``gpuops gpus``: the jobs that hold the GPUs, and those that wait."""

from __future__ import annotations

import time

import typer
from rich.console import Group

from gpuops.cli import options, output
from gpuops.errors import EXIT_CODES_HELP, MachineError
from gpuops.launch.inventory import read_gpus
from gpuops.system import claims
from gpuops.ui import gpus as screen
from gpuops.ui.findings import not_here

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def gpus(simulate: options.Simulate = None, *, as_json: output.Json = False) -> None:
    """List the GPUs, the jobs that hold them and those that wait."""
    inventory = read_gpus(simulate)
    if "gpus" in inventory.gaps:
        raise MachineError(
            f"the GPUs cannot be read: {inventory.gaps['gpus']}.", "Check that `nvidia-smi` works."
        )
    line = claims.queue() if simulate is None else []
    output.answer(
        {"simulated": simulate, "inventory": inventory, "waiting": line},
        lambda: Group(*not_here(simulate), screen.gpus(inventory, line, time.time())),
        as_json=as_json,
    )
    if "claims" in inventory.gaps:
        output.note(inventory.gaps["claims"])
