"""``gpuops report``: how a run went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.runs import Run, find_to_show
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.report import read
from gpuops.system import files
from gpuops.text import visible

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command(epilog=EXIT_CODES_HELP)
def report(
    run: Run,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page that any browser shows."),
    ] = None,
    runs_dir: output.RunsDir = None,
    *,
    as_json: output.Json = False,
) -> None:
    """Show how a run went: its attempts, what went wrong, its curves, how the GPUs were used."""
    if html is not None and files.exists(html) and not files.is_file(html):
        raise UsageError(f"{html} is not a file.", "Name one: `--html report.html`.")
    found = read(find_to_show(run, runs_dir, "report"))
    if html is not None:
        files.write_text(html, visible(output.ui("report.page").page(found)))
        output.note(f"the page is {html}")
    if html is None or as_json:
        output.answer(found, lambda: output.ui("report.report").report(found), as_json=as_json)
