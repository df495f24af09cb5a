"""``gpuops preflight``: find what would make a job fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from gpuops.cli import options, output
from gpuops.cli.hints import hint_launch_flags
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.preflight.preflight import stopping
from gpuops.errors import ExitCode
from gpuops.launch.contention import Contention
from gpuops.launch.prepare import misspelled, prepare

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(**options.COMMAND, rich_help_panel="Jobs")
@options.takes(options.PLANNING)
def preflight(
    ctx: typer.Context,
    asked: LaunchOptions,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    as_json: output.Json = False,
) -> None:
    """Check this host, and name what would make a job fail."""
    nothing = (asked.name, asked.module, asked.resume) == (None, None, None)
    with hint_launch_flags(ctx):
        prepared = prepare(replace(asked, machine_only=nothing), Contention(output.note))
    found, simulated = prepared.findings, prepared.selection.inventory.simulated
    stop = stopping(found, asked.force)
    if prepared.launch.manifest is None:
        for flag, near in misspelled(asked.arguments, options.spelled(ctx.command)):
            output.note(f"{flag} goes to the script; gpuops has {near}.")
    output.answer(
        {"simulated": simulated, "findings": found},
        lambda: output.ui("findings").findings(found, simulated),
        as_json=as_json,
    )
    if stop or (strict and any(one.severity == "warning" for one in found)):
        raise typer.Exit(int(ExitCode.FAILED))
