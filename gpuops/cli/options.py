"""The options that preflight and launch share."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpuops.system import profiles, trainers


def _complete_target(incomplete: str) -> list[str]:
    return [name for name in trainers.names() if name.startswith(incomplete)]


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in profiles.available() if name.startswith(incomplete)]


Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[TRAINER|SCRIPT]",
        help="A trainer (rvq), or a script (./train.py); its own flags may follow.",
        autocompletion=_complete_target,
        show_default=False,
    ),
]
Module = Annotated[
    str | None,
    typer.Option("-m", "--module", help="Run a module, as `python -m` does.", metavar="MODULE"),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Hardware profile: a name or a file.  [default: what is free here]",
        autocompletion=_complete_profile,
        show_default=False,
    ),
]
ExcludeGpu = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-gpu",
        help="Leave this GPU alone: index, UUID or its beginning. May be repeated.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--nproc-per-node", min=1, help="Ranks to start, instead of the profile's."),
]
Port = Annotated[
    int | None,
    typer.Option("--master-port", min=1, max=65535, help="Rendezvous port."),
]
Python = Annotated[
    str,
    typer.Option(
        "--python",
        help="The interpreter that trains.  [default: this one]",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="The training program's data set: a folder, or `synthetic`."),
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        help="The training program's settings file (YAML, JSON). May be repeated.",
        show_default=False,
    ),
]
DEFAULT_PYTHON = sys.executable
