"""The options that preflight and launch share."""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gpuops.errors import UsageError
from gpuops.system import profiles
from gpuops.system.trainers import manifests

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Dashed(TyperCommand):
    """Takes ``--master_port``, as torchrun's users type it, for ``--master-port``.

    And ``--wait`` with a time after it or none.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102 - typer's own
        ours = {flag for option in self.params for flag in option.opts}
        end = args.index("--") if "--" in args else len(args)
        dashed = [_dashed(word, ours) for word in args[:end]]
        if "--wait" in ours:
            dashed = _with_time(dashed)
        return super().parse_args(ctx, [*dashed, *args[end:]])


def _dashed(word: str, ours: set[str]) -> str:
    flag, equals, value = word.partition("=")
    spelled = flag.replace("_", "-")
    return f"{spelled}{equals}{value}" if flag.startswith("--") and spelled in ours else word


def _with_time(words: list[str]) -> list[str]:
    whole: list[str] = []
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        # A word that begins as a time and is none goes to ``seconds``, which says so.
        timeless = word == "--wait" and not after[:1].isdigit()
        whole.append("--wait=for-ever" if timeless else word)
    return whole


def seconds(text: str | None) -> float | None:
    """A time as people type it: ``90``, ``90s``, ``30m``, ``8h``, ``2d``.

    Raises:
        UsageError: it is none.
    """
    if text is None or text == "for-ever":
        return None if text is None else math.inf
    match = TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text} is no time to wait.", "Write `--wait`, or `--wait 30m`.")
    return float(match[1]) * SECONDS[match[2] or "s"]


def _complete_target(incomplete: str) -> list[str]:
    return [name for name in manifests.names() if name.startswith(incomplete)]


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
Gpu = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu",
        help="Take this GPU: index, UUID or its beginning; `1,2,3` names several.",
        show_default=False,
    ),
]
Simulate = Annotated[
    str | None,
    typer.Option(
        "--simulate",
        metavar="BOX",
        help="Plan for a machine that is not here: `8x4090`, or a scenario file.",
        show_default=False,
    ),
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="[TIME]",
        help="Queue until enough GPUs are free, for ever or so long (30m, 8h).",
        show_default=False,
    ),
]
HangTimeout = Annotated[
    str | None,
    typer.Option(
        "--hang-timeout",
        metavar="TIME",
        help="Standing still as long is a hang (90s, 15m).  [default: by the job's own pace]",
        show_default=False,
    ),
]
Observe = Annotated[
    bool, typer.Option("--observe", help="Judge and diagnose hangs, but end nothing.")
]
MaxRestarts = Annotated[
    int | None,
    typer.Option(
        "--max-restarts",
        min=0,
        help="Restarts within an hour without a newer checkpoint.  [default: the profile's]",
        show_default=False,
    ),
]
OnHang = Annotated[
    str | None,
    typer.Option("--on-hang", metavar="CMD", help="Run this when it hangs; JSON on its stdin."),
]
OnExit = Annotated[
    str | None,
    typer.Option("--on-exit", metavar="CMD", help="Run this when it has ended; JSON on its stdin."),
]
Shrink = Annotated[
    bool,
    typer.Option("--shrink", help="Where GPUs are missing take fewer, with the same global batch."),
]
Force = Annotated[
    list[str] | None,
    typer.Option(
        help="Overrule this check, by its name, though it finds an error.", show_default=False
    ),
]
ExcludeGpu = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-gpu",
        help="Leave this GPU alone: index, UUID or its beginning; `1,2` names several.",
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
Resume = Annotated[
    str | None,
    typer.Option(help="Go on: a run (`last`, its name, its folder), or a checkpoint's folder."),
]
