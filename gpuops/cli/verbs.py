"""Verbs: the commands of the installed trainers, run by their own modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuops.cli import output
from gpuops.cli.options import complete_trainer
from gpuops.cli.runs import complete_run
from gpuops.core.launch import torchrun
from gpuops.core.launch.manifest import Manifest, Verb, flag
from gpuops.core.machine import allotment
from gpuops.core.run import paths
from gpuops.errors import UsageError
from gpuops.system.owners import trusted
from gpuops.system.runs import ownership, plan_file, records, run_dir
from gpuops.system.trainers import manifests, modules

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
HELP = {"-h", "--help"}
RUN_FLAGS = {"--model-path", "--model_path"}  # how the guides of some trainers name a run
FIRST_WORDS = {"run": "RUN", "data": "DATA"}


def _complete_first(ctx: typer.Context, incomplete: str) -> list[str]:
    return [] if ctx.params.get("words") else complete_run(incomplete)


Words = Annotated[list[str] | None, typer.Argument(autocompletion=_complete_first)]
Trainer = Annotated[
    str | None,
    typer.Option(
        help="The trainer, if several can do this.",
        autocompletion=complete_trainer,
        show_default=False,
    ),
]
Python = Annotated[str | None, typer.Option(help="The interpreter to use.  [default: the run's]")]


def known() -> dict[str, str]:
    """The verbs of all installed trainers, with what they do."""
    return {
        name: verb.does
        for manifest in manifests.load_all()
        for name, verb in manifest.verbs.items()
    }


def command(name: str) -> Any:
    """The command of a verb; its words go to the trainer's module as they were typed."""
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

    @app.command(context_settings=PASS_ON, add_help_option=False)
    def verb(
        words: Words = None,
        trainer: Trainer = None,
        python: Python = None,
        runs_dir: output.RunsDir = None,
    ) -> None:
        _perform(name, words or [], trainer=trainer, python=python, runs_dir=runs_dir)

    return typer.main.get_command(app)


def _perform(
    verb: str,
    words: Sequence[str],
    *,
    trainer: str | None,
    python: str | None,
    runs_dir: Path | None,
) -> None:
    """Hand the words over to the trainer that the run names, or to the only one with this verb.

    Raises:
        UsageError: the first word is not a run or data set, or no trainer has the verb.
    """
    loaded = manifests.load_all() if trainer is None else [manifests.load(trainer)]
    owners = {one.name: one for one in loaded if verb in one.verbs}
    subjects = {subject for one in owners.values() for subject in one.verbs[verb].of}
    words = _run_first(words) if "run" in subjects else words
    first = words[0] if words and not words[0].startswith("-") else None
    if first is None and len(owners) > 1 and HELP & set(words):
        for owner in owners.values():
            print(f"{_usage(owner, verb)} --trainer {owner.name} --help shows them.")
        return
    if first is None and subjects == {"run"} and not HELP & set(words):
        raise UsageError(
            f"{words[0]} is not a run." if words else f"say which run to {verb}.",
            "The run comes first, flags of the trainer follow.",
        )
    if first is not None and "run" in subjects:
        root, checkpoint = _find_run(verb, subjects, first, runs_dir)
        if root is not None:
            _perform_of_run(verb, root, [checkpoint, *words[1:]], owners, python)
            return
    data = Path(first) if first is not None and "data" in subjects else None
    manifest, found = manifests.choose(trainer, verb, lambda one: one.verbs.get(verb), data=data)
    if first is not None and "data" in found.of:
        words = [flag(manifest.data.setting if manifest.data else "data"), *words]
    elif found.of == ("data",) and not HELP & set(words):
        raise UsageError(f"say which data set to {verb}.", "Its folder comes first.")
    _hand_over(manifest, verb, words, python or sys.executable)


def _find_run(
    verb: str, subjects: AbstractSet[str], word: str, runs_dir: Path | None
) -> tuple[Path | None, str]:
    """The run that a word means, if it means one, and what to name in it: it or a checkpoint.

    Raises:
        UsageError: it means none, and the verb takes nothing else.
    """
    try:
        root = records.find(run_dir.runs_dir(runs_dir), word, verb)
    except UsageError:
        held = records.holder(word)
        if held is None and not subjects & {"data", "nothing"}:
            raise
        if held is not None and subjects & {"data", "nothing"}:  # its other files may be data
            checkpoint = Path(word).absolute().is_relative_to(held / paths.CHECKPOINTS)
            held = held if checkpoint else None
        return held, word
    return root, str(root)


def _run_first(words: Sequence[str]) -> Sequence[str]:
    """Put the run that ``--model-path RUN`` names in front, where it is typed without the flag."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in RUN_FLAGS and (equals or len(words) > place + 1):
            after = place + (1 if equals else 2)
            return [value if equals else words[place + 1], *words[:place], *words[after:]]
    return words


def _perform_of_run(
    verb: str, root: Path, words: Sequence[str], owners: Mapping[str, Manifest], python: str | None
) -> None:
    """Use what a run has learned, by the run's interpreter; on one of its GPUs, or those given.

    The first word is the run's folder, or a checkpoint in it.
    """
    ownership.require_trusted(root, verb)
    ownership.require_trusted_checkpoints(root)
    plan = plan_file.load(root, trusted())
    kind, name = plan.target.kind, plan.target.name
    if kind != "trainer":
        raise UsageError(
            f"run {plan.run_id} launched the {kind} {name}, not a trainer.",
            f"`{verb}` works on runs of: {', '.join(owners)}.",
        )
    if name not in owners or "run" not in owners[name].verbs[verb].of:
        raise UsageError(
            f"run {plan.run_id} launched trainer {name}, which cannot {verb} runs.",
            f"`gpuops trainers show {name}` lists its verbs.",
        )
    words = ["--checkpoint", *words]
    # The GPUs that this shell was given count, not those that the run had.
    given = plan.device == "cuda" and allotment.CUDA in os.environ
    added = None if given else torchrun.one_gpu(plan)
    _hand_over(owners[name], verb, words, python or plan.python, added)


def _hand_over(
    manifest: Manifest,
    verb: str,
    words: Sequence[str],
    python: str,
    added: Mapping[str, str] | None = None,
) -> None:
    if HELP & set(words):
        print(_usage(manifest, verb), flush=True)
    run_module(python, manifest.verbs[verb].module, words, added)


def run_module(
    python: str, module: str, words: Sequence[str], added: Mapping[str, str] | None = None
) -> None:
    """Run a trainer's module in place of this command, with its exit code."""
    if code := modules.hand_over(python, module, words, added=added):
        raise typer.Exit(code)


def _usage(manifest: Manifest, verb: str) -> str:
    """The line above the help of a trainer's module."""
    found: Verb = manifest.verbs[verb]
    first = "|".join(FIRST_WORDS[subject] for subject in found.of if subject in FIRST_WORDS)
    first = f"[{first}]" if first and {"settings", "nothing"} & set(found.of) else first
    given = " (gpuops sets --checkpoint)" if "run" in found.of else ""
    words = " ".join(filter(None, ["gpuops", verb, first]))
    return (
        f"Usage: {words} [--trainer NAME] [--python FILE] [--runs-dir DIR] [FLAGS]: {found.does}. "
        f"The flags of {manifest.name}{given}:"
    )
