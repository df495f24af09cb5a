"""``gpuops profiles``: the hardware profiles there are."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.options import _complete_profile
from gpuops.errors import GpuopsError
from gpuops.system import profiles
from gpuops.ui import tables

app = typer.Typer(
    help="The hardware profiles there are.", no_args_is_help=True, add_completion=False
)


@app.command("list")
def list_(*, as_json: output.Json = False) -> None:
    """List the profiles; a broken one is named, and does not hide the others."""
    found = []
    for name, path in profiles.available().items():
        try:
            found.append((profiles.load(str(path)), str(path)))
        except GpuopsError as problem:
            output.note(f"profile {name} is left out: {problem.message}")
    output.answer(
        [{**output.plain(profile), "file": path} for profile, path in found],
        lambda: tables.profiles(found),
        as_json=as_json,
    )


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(help="A profile's name or file.", autocompletion=_complete_profile),
    ],
    *,
    as_json: output.Json = False,
) -> None:
    """Show one profile as it is written, after checking it."""
    path = profiles.find(name)
    profile = profiles.load(name)
    output.answer(
        profile,
        lambda: tables.text_file(path.read_text(encoding="utf-8"), "yaml"),
        as_json=as_json,
    )
