"""The options that preflight and launch share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gpuops.system import profiles, trainers


class Dashed(TyperCommand):
    """Takes ``--master_port``, as torchrun's users type it, for ``--master-port``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102 - typer's own
        ours = {flag for option in self.params for flag in option.opts}
        end = args.index("--") if "--" in args else len(args)
        dashed = [_dashed(word, ours) for word in args[:end]]
        return super().parse_args(ctx, [*dashed, *args[end:]])


def _dashed(word: str, ours: set[str]) -> str:
    flag, equals, value = word.partition("=")
    spelled = flag.replace("_", "-")
    return f"{spelled}{equals}{value}" if flag.startswith("--") and spelled in ours else word


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
    str | None,
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
