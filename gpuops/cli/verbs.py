"""What a trainer can do beside training: its verbs, handed over to its own modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from gpuops.core.launch import torchrun
from gpuops.core.launch.manifest import Manifest
from gpuops.errors import UsageError
from gpuops.system.runs import plan_file, records, run_dir
from gpuops.system.trainers import manifests, modules

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
Data = Annotated[
    str | None,
    typer.Option(
        *("--data", "--data-path", "--data_path"),
        help="Another data set than the run's own.",
        show_default=False,
    ),
]
Python = Annotated[str | None, typer.Option(help="The interpreter to use.  [default: the run's]")]


def of_run(
    run: str,
    verb: str,
    words: Sequence[str],
    *,
    data: str | None = None,
    runs_dir: Path | None,
    python: str | None,
) -> None:
    """Do it with what a run has learned, by its interpreter and on one of its GPUs.

    It runs where the run was launched, for the run's own data set was named from there; what was
    named now was named from here. So paths in ``words`` are absolute.

    Raises:
        UsageError: there is no such run, or its trainer cannot do that.
    """
    if run.startswith("-"):
        raise UsageError(f"{run} is no run.", "The run comes first, flags of the trainer follow.")
    root = records.find(run_dir.runs_dir(runs_dir), run)
    plan = plan_file.load(root)
    if plan.target.kind != "trainer":
        raise UsageError(
            f"run {plan.run_id} is of the {plan.target.kind} {plan.target.name}, not of a trainer.",
            f"Only trainers know how to {verb}; `gpuops trainers list` shows them.",
        )
    manifest = manifests.load(plan.target.name)
    named = ["--data", _data_set(data, manifest)] if data is not None else []
    _hand_over(
        manifest,
        verb,
        ["--checkpoint", str(root), *named, *words],
        python=python or plan.python,
        cwd=plan.working_dir,
        added=torchrun.one_gpu(plan),
    )


def of_trainer(name: str, verb: str, words: Sequence[str], *, python: str | None) -> None:
    """Do it with a trainer's settings alone.

    Raises:
        UsageError: there is no such trainer, or it cannot do that.
    """
    _hand_over(manifests.load(name), verb, words, python=python or sys.executable)


def _data_set(given: str, manifest: Manifest) -> str:
    built_in = manifest.data.built_in if manifest.data else []
    return given if given in built_in else str(Path(given).absolute())


def _hand_over(
    manifest: Manifest,
    verb: str,
    words: Sequence[str],
    *,
    python: str,
    cwd: str | None = None,
    added: Mapping[str, str] | None = None,
) -> None:
    if verb not in manifest.verbs:
        raise UsageError(
            f"trainer {manifest.name} does not {verb}.",
            f"Beside training it can: {', '.join(manifest.verbs) or 'nothing'}.",
        )
    if "/" in python:
        python = str(Path(python).absolute())
    code = modules.hand_over(python, manifest.verbs[verb], words, cwd=cwd, added=added)
    if code:
        raise typer.Exit(code)
