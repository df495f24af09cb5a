"""``gpuops drill``: inject faults into a small job, to test that this host recovers."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from gpuops.cli import options, output
from gpuops.core.drill import FAULTS, Row, assess, hang_timeout_s, place_fault, select_faults
from gpuops.drill.drill import run_undisturbed, run_with_fault
from gpuops.drill.scene import Site, temporary_folder
from gpuops.errors import EXIT_CODES_HELP, ExitCode
from gpuops.ui import drills

PREFIX = "gpuops-drill-"
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
Faults = Annotated[
    list[str] | None,
    options.option(
        "--fault",
        metavar="FAULT",
        help=f"Only this one; may be repeated. {', '.join(FAULTS)}.",
        autocompletion=options.complete(lambda: FAULTS),
    ),
]


@app.command(epilog=EXIT_CODES_HELP)
def drill(
    fault: Faults = None,
    python: options.Python = None,
    seed: Annotated[int, typer.Option(help="Random seed for the rank and step of each fault.")] = 0,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder of the runs.")] = False,
    as_json: output.Json = False,
) -> None:
    """Inject faults into a small job, and test that it recovers. All take about five minutes."""
    faults = select_faults(fault or ())
    rows: list[Row] = []
    with temporary_folder(PREFIX, keep=keep) as folder:
        if keep:
            output.note(f"the runs stay in {folder}")
        site = Site(folder=folder, python=python or sys.executable, seed=seed)
        reference = run_undisturbed(site)
        site = replace(site, hang_timeout_s=hang_timeout_s(reference.cold_start_s))
        if not as_json:
            output.stdout().print(drills.header(site.hang_timeout_s, reference.cold_start_s))
        for one in faults:
            done = place_fault(one, seed)
            rows.append(assess(done, run_with_fault(site, done), reference.weights))
            if not as_json:
                output.stdout().print(drills.row(rows[-1]))
    passed = all(row.passed for row in rows)
    value = {
        "passed": passed,
        "seed": seed,
        "hang_timeout_s": site.hang_timeout_s,
        "cold_start_s": reference.cold_start_s,
        "faults": [{**output.plain(row), "passed": row.passed} for row in rows],
    }
    output.answer(value, lambda: drills.closing(rows), as_json=as_json)
    if not passed:
        raise typer.Exit(int(ExitCode.FAILED))
