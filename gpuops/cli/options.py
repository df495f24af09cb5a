"""The options of a launch, which `launch`, `plan`, `preflight` and `estimate` share.

A new option is a field of ``LaunchOptions``, and its spelling and help here.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from gpuops.cli import output
from gpuops.core.launch.options import FOR_EVER_S, LaunchOptions
from gpuops.errors import EXIT_CODES_HELP, UsageError
from gpuops.system import hooks, profiles
from gpuops.system.trainers import manifests

TIME = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
FOR_EVER = "for-ever"  # what Typer gets for `--wait` without a time
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DEFAULTS = {one.name: one.default for one in dataclasses.fields(LaunchOptions)}
KINDS = get_type_hints(LaunchOptions)


class Dashed(TyperCommand):
    """Takes ``--master_port`` for ``--master-port``, and ``--wait`` with or without a time."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: D102 - typer's own
        ours = set(spelled(self))
        end = args.index("--") if "--" in args else len(args)
        dashed = [_dashed(word, ours) for word in args[:end]]
        if "--wait" in ours:
            dashed = _with_time(dashed)
        return super().parse_args(ctx, [*dashed, *args[end:]])


def _dashed(word: str, ours: set[str]) -> str:
    flag, equals, value = word.partition("=")
    dashed = flag.replace("_", "-")
    return f"{dashed}{equals}{value}" if flag.startswith("--") and dashed in ours else word


def _with_time(words: list[str]) -> list[str]:
    whole: list[str] = []
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        timeless = word == "--wait" and not _meant_as_time(after, whole)
        whole.append(f"--wait={FOR_EVER}" if timeless else word)
    return whole


def _meant_as_time(word: str, before: Sequence[str]) -> bool:
    """Whether the word after ``--wait`` is its time, or must be one.

    After a trainer's name only flags can follow; a script takes words of its own.
    """
    if not word or word.startswith("-"):
        return False
    return word[0].isdigit() or not set(before).isdisjoint(manifests.names())


def seconds(text: str) -> float:
    """Parse a time: ``90``, ``90s``, ``30m``, ``8h``, ``2d``.

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
    """A command to run later; a mistake in it is refused now."""
    hooks.words(command)
    return command


def complete(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """The completion of a word by some names, which are read when a shell asks."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


complete_trainer = complete(manifests.names)
complete_profile = complete(profiles.available)
option = functools.partial(typer.Option, show_default=False)
argument = functools.partial(typer.Argument, show_default=False)

Python = Annotated[
    str | None, option("--python", help="The Python interpreter of the job.  [default: this one]")
]
Simulate = Annotated[
    str | None,
    option(
        "--simulate", metavar="HOST", help="Plan for another host: `8x4090`, or a scenario file."
    ),
]
# How each field of LaunchOptions is spelled, in the order of the help page. Those in SUPERVISION
# matter once a job runs; the others decide what is planned.
PLANNING: dict[str, Any] = {
    "name": argument(
        metavar="[TRAINER|SCRIPT]",
        help="A trainer (rvq), or a script (./train.py); its own flags may follow.",
        autocompletion=complete_trainer,
    ),
    "module": option("-m", "--module", help="Run a module, as `python -m` does.", metavar="MODULE"),
    "profile": option(
        "--profile",
        "-p",
        help="Hardware profile: a name or a file.  [default: what is free here]",
        autocompletion=complete_profile,
    ),
    "gpus": option(
        "--gpu", help="Use this GPU: index, UUID or its beginning; `1,2,3` names several."
    ),
    "exclude_gpus": option(
        "--exclude-gpu",
        help="Do not use this GPU: index, UUID or its beginning; `1,2` names several.",
    ),
    "nproc_per_node": option(
        "--nproc-per-node", min=1, help="Ranks to start, instead of the profile's."
    ),
    "master_port": option("--master-port", min=1, max=65535, help="Rendezvous port."),
    "python": Python,
    "data": option("--data", help="The data set: a folder, or `synthetic`."),
    "configs": option("--config", help="A file of settings (YAML, JSON). May be repeated."),
    "resume": option(
        "--resume",
        help="Continue a run (`last`, its name, its folder), or start from a checkpoint.",
    ),
    "runs_dir": output.RunsDir,
    "wait_s": option(
        "--wait",
        metavar="[TIME]",
        parser=seconds,
        help="Queue until enough GPUs are free, at most this long (30m, 8h) if a time is given.",
    ),
    "simulate": Simulate,
    "shrink": option("--shrink", help="If GPUs are missing, use fewer with the same global batch."),
    "force": option("--force", help="Launch even if the check of this name finds an error."),
}
SUPERVISION: dict[str, Any] = {
    "hang_timeout_s": option(
        "--hang-timeout",
        metavar="TIME",
        parser=seconds,
        help="No progress for this long is a hang (90s, 15m).  [default: by the job's own pace]",
    ),
    "observe": option("--observe", help="Detect and diagnose hangs, but end nothing."),
    "max_restarts": option(
        "--max-restarts",
        min=0,
        help="Restarts within an hour without a newer checkpoint.  [default: the profile's]",
    ),
    "stop_grace_s": option(
        "--stop-grace",
        metavar="TIME",
        parser=seconds,
        help="How long a stop waits for the job to save.  [default: the profile's]",
    ),
    "on_hang": option(
        "--on-hang",
        metavar="CMD",
        parser=_hook,
        help="Run this if the job hangs; it gets JSON on stdin.",
    ),
    "on_exit": option(
        "--on-exit",
        metavar="CMD",
        parser=_hook,
        help="Run this when the job has ended; it gets JSON on stdin.",
    ),
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


def _parameter(shared: tuple[str, Any]) -> Parameter:
    """The parameter for an option: typed as its field, if it is not annotated already."""
    name, spelling = shared
    kind, default = KINDS[name], DEFAULTS[name]
    if default == ():
        kind, default = list[str] | None, None
    annotation = spelling if get_origin(spelling) is Annotated else Annotated[kind, spelling]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return str(value) if isinstance(value, Path) else value


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


def spelled(command: Any) -> list[str]:
    """The options of a command, as they are spelled."""
    return [flag for one in command.params for flag in one.opts]
