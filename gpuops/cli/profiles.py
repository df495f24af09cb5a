"""``gpuops profiles``: list, check or make hardware profiles."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from gpuops.cli import output
from gpuops.cli.options import complete_profile
from gpuops.core.launch import profile_detection
from gpuops.core.launch.profile import Profile, parse, schema
from gpuops.errors import ExitCode, GpuopsError, UsageError
from gpuops.launch.inventory import read_gpus
from gpuops.system import profiles
from gpuops.system.trainers import manifests, settings
from gpuops.system.yaml_files import parse_yaml, read_yaml
from gpuops.ui import tables

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


@app.command("list")
def list_(*, as_json: output.Json = False) -> None:
    """List the profiles; a profile with an error is named, and the others are still shown."""
    found = []
    for name, files in profiles.everywhere().items():
        try:
            found.append((name, profiles.load(str(files[0])), list(map(str, files))))
        except GpuopsError as problem:
            output.note(f"profile {name} is left out: {problem.message}")
    output.answer(
        [
            {**output.plain(profile), "name": name, "file": file, "hides": hidden}
            for name, profile, (file, *hidden) in found
        ],
        lambda: tables.profiles(found),
        as_json=as_json,
    )


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A profile's name or file.", autocompletion=complete_profile)
    ],
    *,
    as_json: output.Json = False,
) -> None:
    """Check one profile, and print its file."""
    path = profiles.find(name)
    profile = profiles.load(name)
    _answer(profile, path.read_text(encoding="utf-8"), as_json=as_json)


@app.command()
def validate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|NAME...",
            help="Profiles by name or file.",
            autocompletion=complete_profile,
        ),
    ],
    *,
    as_json: output.Json = False,
) -> None:
    """Check profiles; name each error by its key, or by file and line.

    The settings that a profile asks for are checked with the trainers.
    """
    checked = {name: _check(name) for name in names}
    output.answer(
        [
            {
                "profile": name,
                "valid": problem is None,
                "problem": problem and problem.message,
                "hint": problem and problem.hint,
                "warnings": warnings,
            }
            for name, (problem, warnings) in checked.items()
        ],
        lambda: tables.validated(checked),
        as_json=as_json,
    )
    if any(problem for problem, _ in checked.values()):
        raise typer.Exit(int(ExitCode.USAGE))


@app.command()
def detect(
    out: Annotated[
        Path | None, typer.Option(help="The file to write.  [default: print it]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The profile's name.  [default: the file's, or the host's]")
    ] = None,
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: output.Json = False,
) -> None:
    """Write a profile for this host, from what its driver reports."""
    inventory = read_gpus()
    text = profile_detection.detect(
        inventory,
        hostname=socket.gethostname(),
        cores=len(os.sched_getaffinity(0)),
        name=name or (out.stem if out else None),
    )
    profile = parse(parse_yaml(text, "the profile"), "the profile")
    if not inventory.devices:
        output.note(f"there is no GPU: {inventory.gaps.get('gpus', 'the driver shows none')}.")
    if out is not None:
        profiles.write(out, text, overwrite=overwrite)
        output.note(f"{out} is written; `gpuops launch TRAINER --profile {out}` uses it.")
    if out is None or as_json:
        _answer(profile, text, as_json=as_json)


@app.command("schema")
def schema_() -> None:
    """Print the JSON Schema of a profile, for completion in an editor."""
    print(json.dumps(schema(), indent=2))


def _answer(profile: Profile, text: str, *, as_json: bool) -> None:
    """Print a profile's text: in colours on a terminal, unchanged into a file."""
    if as_json or sys.stdout.isatty():
        output.answer(profile, lambda: tables.text_file(text.rstrip("\n"), "yaml"), as_json=as_json)
    else:
        print(text, end="")


def _check(name: str) -> tuple[GpuopsError | None, list[str]]:
    """The error of a profile, and the warnings about it."""
    warnings: list[str] = []
    wrong: list[str] = []
    try:
        path = profiles.find(name)
        profile = parse(read_yaml(path), str(path), shown=None)
        for trainer in profile.trainers:
            try:
                manifest = manifests.load(trainer)
            except UsageError as unknown:
                warnings.append(f"trainers.{trainer}: {unknown.message}")
                continue
            wrong += settings.refused_wishes(profile, manifest, sys.executable, str(Path.cwd()))
    except GpuopsError as problem:
        return problem, warnings
    if not wrong:
        return None, warnings
    hint = "`gpuops trainers show NAME` lists the settings of a trainer."
    return UsageError(f"{path}: {'; '.join(wrong)}.", hint), warnings
