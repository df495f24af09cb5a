"""``gpuops drill``: harm a small job, to see that this host recovers."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import options, output
from gpuops.core.drill import FAULTS, Row, injection, known, verdict
from gpuops.drill.drill import HANG_TIMEOUT_S, Yard, struck, undisturbed
from gpuops.errors import EXIT_CODES_HELP, ExitCode
from gpuops.ui import drills

app = typer.Typer(add_completion=False)
Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="FAULT",
        help=f"Only this one; may be repeated. {', '.join(FAULTS)}.",
        autocompletion=lambda incomplete: [name for name in FAULTS if name.startswith(incomplete)],
        show_default=False,
    ),
]


@app.command(epilog=EXIT_CODES_HELP)
def drill(
    fault: Faults = None,
    python: options.Python = None,
    seed: Annotated[int, typer.Option(help="Chance: where each fault strikes.")] = 0,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the runs' folder there.")] = False,
    as_json: output.Json = False,
) -> None:
    """Run a small job, harm it, and see that it recovers: some three minutes for all faults."""
    faults = known(fault or ())
    rows: list[Row] = []
    with _yard(python or sys.executable, seed, keep=keep) as yard:
        reference = undisturbed(yard)
        if not as_json:
            output.stdout().print(drills.header(HANG_TIMEOUT_S, reference.cold_start_s))
        for one in faults:
            done = injection(one, seed)
            rows.append(verdict(done, struck(yard, done), reference.weights))
            if not as_json:
                output.stdout().print(drills.row(rows[-1]))
    passed = all(row.passed for row in rows)
    value = {
        "passed": passed,
        "seed": seed,
        "hang_timeout_s": HANG_TIMEOUT_S,
        "cold_start_s": reference.cold_start_s,
        "faults": [{**output.plain(row), "passed": row.passed} for row in rows],
    }
    output.answer(value, lambda: drills.closing(rows), as_json=as_json)
    if not passed:
        raise typer.Exit(int(ExitCode.FAILED))


@contextlib.contextmanager
def _yard(python: str, seed: int, *, keep: bool) -> Iterator[Yard]:
    """A folder that goes when the drill is over, however it ends."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    folder = Path(tempfile.mkdtemp(prefix="gpuops-drill-"))
    try:
        yield Yard(folder=folder, python=python, seed=seed)
    finally:
        if keep:
            output.note(f"the runs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)
