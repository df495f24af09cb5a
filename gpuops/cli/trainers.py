"""``gpuops trainers``: list the trainers, or show one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.system.trainers import manifests as trainers
from gpuops.system.trainers import settings
from gpuops.ui import tables

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


@app.command("list")
def list_(*, as_json: output.Json = False) -> None:
    """List the installed trainers, and their verbs."""
    manifests = trainers.load_all(
        lambda name, problem: output.note(f"trainer {name} is left out: {problem.message}")
    )
    output.answer(manifests, lambda: tables.trainers(manifests), as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A trainer's name.")], *, as_json: output.Json = False
) -> None:
    """Show one trainer: its verbs, and every setting with its default."""
    manifest = trainers.load(name)
    if as_json:
        output.answer(manifest, str, as_json=True)
        return
    output.stdout().print(tables.trainers([manifest]))
    print(settings.help_text(sys.executable, manifest.answers.config))
