"""The options of a launch, which `launch`, `plan`, `preflight` and `estimate` share.

A new option is a field of ``LaunchOptions``, and its spelling and help here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gpuops.cli import output
from gpuops.core.launch.options import FOR_EVER_S, LaunchOptions
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.system import hooks, profiles
from gpuops.system.trainers import manifests

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
FOR_EVER = "for-ever"  # how `--wait` without a time goes on to typer
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DEFAULTS = {one.name: one.default for one in dataclasses.fields(LaunchOptions)}


class Dashed(TyperCommand):
    """Takes ``--master_port`` for ``--master-port``, and ``--wait`` with or without a time."""

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
        # A word that begins with a digit but is not a time goes to ``seconds``, which says so.
        timeless = word == "--wait" and not after[:1].isdigit()
        whole.append(f"--wait={FOR_EVER}" if timeless else word)
    return whole


def seconds(text: str) -> float:
    """A time as people type it: ``90``, ``90s``, ``30m``, ``8h``, ``2d``.

    Raises:
        UsageError: it is not a time.
    """
    if text == FOR_EVER:
        return FOR_EVER_S
    match = TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text} is not a time.", "Write `90s`, `30m`, `8h` or `2d`.")
    return float(match[1]) * SECONDS[match[2] or "s"]


def _hook(command: str) -> str:
    """A command to run later; a mistake in it is refused now, not at three in the morning."""
    hooks.words(command)
    return command


def _complete_target(incomplete: str) -> list[str]:
    return [name for name in manifests.names() if name.startswith(incomplete)]


def _complete_profile(incomplete: str) -> list[str]:
    return [name for name in profiles.available() if name.startswith(incomplete)]


Python = Annotated[
    str | None,
    typer.Option(
        "--python",
        help="The interpreter that trains.  [default: this one]",
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
# An annotation for each field of LaunchOptions, in the order of the help page. Those in
# SUPERVISION matter once a job runs; the others decide what is planned.
PLANNING: dict[str, Any] = {
    "name": Annotated[
        str | None,
        typer.Argument(
            metavar="[TRAINER|SCRIPT]",
            help="A trainer (rvq), or a script (./train.py); its own flags may follow.",
            autocompletion=_complete_target,
            show_default=False,
        ),
    ],
    "module": Annotated[
        str | None,
        typer.Option("-m", "--module", help="Run a module, as `python -m` does.", metavar="MODULE"),
    ],
    "profile": Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            help="Hardware profile: a name or a file.  [default: what is free here]",
            autocompletion=_complete_profile,
            show_default=False,
        ),
    ],
    "gpus": Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            help="Take this GPU: index, UUID or its beginning; `1,2,3` names several.",
            show_default=False,
        ),
    ],
    "exclude_gpus": Annotated[
        list[str] | None,
        typer.Option(
            "--exclude-gpu",
            help="Leave this GPU alone: index, UUID or its beginning; `1,2` names several.",
            show_default=False,
        ),
    ],
    "nproc_per_node": Annotated[
        int | None,
        typer.Option("--nproc-per-node", min=1, help="Ranks to start, instead of the profile's."),
    ],
    "master_port": Annotated[
        int | None, typer.Option("--master-port", min=1, max=65535, help="Rendezvous port.")
    ],
    "python": Python,
    "data": Annotated[
        str | None,
        typer.Option("--data", help="The training program's data set: a folder, or `synthetic`."),
    ],
    "configs": Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            help="The training program's settings file (YAML, JSON). May be repeated.",
            show_default=False,
        ),
    ],
    "resume": Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="Go on: a run (`last`, its name, its folder), or a checkpoint's folder.",
        ),
    ],
    "runs_dir": output.RunsDir,
    "wait_s": Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="[TIME]",
            parser=seconds,
            help="Queue until enough GPUs are free, for ever or so long (30m, 8h).",
            show_default=False,
        ),
    ],
    "simulate": Simulate,
    "shrink": Annotated[
        bool,
        typer.Option("--shrink", help="If GPUs are missing, take fewer and keep the global batch."),
    ],
    "force": Annotated[
        list[str] | None,
        typer.Option(
            "--force",
            help="Overrule this check, by its name, though it finds an error.",
            show_default=False,
        ),
    ],
}
SUPERVISION: dict[str, Any] = {
    "hang_timeout_s": Annotated[
        float | None,
        typer.Option(
            "--hang-timeout",
            metavar="TIME",
            parser=seconds,
            help="No progress for so long is a hang (90s, 15m).  [default: by the job's own pace]",
            show_default=False,
        ),
    ],
    "observe": Annotated[
        bool, typer.Option("--observe", help="Detect and diagnose hangs, but end nothing.")
    ],
    "max_restarts": Annotated[
        int | None,
        typer.Option(
            "--max-restarts",
            min=0,
            help="Restarts within an hour without a newer checkpoint.  [default: the profile's]",
            show_default=False,
        ),
    ],
    "on_hang": Annotated[
        str | None,
        typer.Option(
            "--on-hang",
            metavar="CMD",
            parser=_hook,
            help="Run this when it hangs; JSON on its stdin.",
        ),
    ],
    "on_exit": Annotated[
        str | None,
        typer.Option(
            "--on-exit",
            metavar="CMD",
            parser=_hook,
            help="Run this when it has ended; JSON on its stdin.",
        ),
    ],
}

# How a command is declared whose remaining words go to the training program.
COMMAND: dict[str, Any] = {
    "cls": Dashed,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "epilog": EXIT_CODES_HELP,
}


def takes(shared: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command some options of a launch; it gets their values as one ``LaunchOptions``.

    The command's parameters are the context, the launch's options, and its own options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        ctx, _, *own = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            context = given.pop(ctx.name)
            typed = {name: _plain(given.pop(name)) for name in shared}
            command(context, _options(typed, context.args), **given)

        everything = [ctx, *map(_parameter, shared.items()), *own]
        vars(with_options)["__signature__"] = inspect.Signature(everything)
        with_options.__annotations__ = {one.name: one.annotation for one in everything}
        return with_options

    return decorate


def _parameter(option: tuple[str, Any]) -> Parameter:
    name, annotation = option
    default = DEFAULTS[name] if DEFAULTS[name] != () else None
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _plain(value: object) -> object:
    return (
        tuple(value)
        if isinstance(value, list)
        else str(value)
        if isinstance(value, Path)
        else value
    )


def _options(typed: dict[str, Any], words: Sequence[str]) -> LaunchOptions:
    """The options as one value; the remaining ``words`` belong to the training program.

    The first word is one of them, and not a name, after `-m MODULE` and in `--resume last --lr 1`.
    """
    given = {name: value for name, value in typed.items() if value is not None}
    name = given.get("name")
    named_module = "module" in given and name not in manifests.names()
    resumed = "resume" in given and (name or "").startswith("-")
    if name is not None and (named_module or resumed):
        words = [given.pop("name"), *words]
    return LaunchOptions(**given, arguments=tuple(words))


def spelled(ctx: typer.Context) -> list[str]:
    """The options of a command, as they are spelled."""
    return [flag for option in ctx.command.params for flag in option.opts]
