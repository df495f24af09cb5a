"""``gpuops diagnose``: why a job makes no progress, or why it ended."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.runs import find_to_show
from gpuops.diagnose import diagnose_process, diagnose_run, find_good_end
from gpuops.errors import EXIT_CODES_HELP, ExitCode
from gpuops.ui import diagnoses

LONGEST_PID = 10  # digits
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def diagnose(
    what: Annotated[
        str, typer.Argument(metavar="RUN|PID", help="A run (`last`), or a process ID.")
    ],
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Show why a job makes no progress, or why it ended. The job is not disturbed."""
    if what.isascii() and what.isdecimal() and len(what) <= LONGEST_PID:
        found = diagnose_process(int(what))
    else:
        root = find_to_show(what, runs_dir, "diagnose")
        if (ended := find_good_end(root)) is not None:
            value = {"kind": None, "rank": None, "sure": True, **asdict(ended)}
            output.answer(value, lambda: diagnoses.ended_well(ended), as_json=as_json)
            return
        found = diagnose_run(root, output.note)
    output.answer(asdict(found), lambda: diagnoses.diagnosis(found), as_json=as_json)
    if not found.sure:
        raise typer.Exit(int(ExitCode.FAILED))
