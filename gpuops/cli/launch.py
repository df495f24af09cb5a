"""``gpuops launch``: start a job and watch over it."""

from __future__ import annotations

import contextlib
import difflib
import gc
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuops.cli import options, output
from gpuops.core import failure, torchrun
from gpuops.core.finding import Finding
from gpuops.core.plan import LaunchPlan
from gpuops.core.preflight import has_errors
from gpuops.errors import EXIT_CODES_HELP, ExitCode, GpuopsError
from gpuops.launcher import Order, Prepared, misspelled, prepare
from gpuops.supervisor import Outcome, supervise
from gpuops.system import run_dir
from gpuops.ui import findings, launches, words

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
EXAMPLES = """
**Examples**

`gpuops launch rvq --profile cpu` · train the motion RVQ-VAE on two CPU workers

`gpuops launch rvq --profile 7x4090 --exclude-gpu 0 --batch-size 80` · its own flags just follow

`gpuops launch ./train.py --profile 4x4090 -- --lr 3e-4` · any script that torchrun can start

`gpuops launch --resume last` · go on with the newest run where it stopped
"""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=EXIT_CODES_HELP,
    help="Start a trainer, a script or a module under torchrun, and watch over it.\n" + EXAMPLES,
    rich_help_panel="Jobs",
)
def launch(
    ctx: typer.Context,
    name: options.Target = None,
    module: options.Module = None,
    profile: options.ProfileName = None,
    exclude_gpu: options.ExcludeGpu = None,
    nproc_per_node: options.Workers = None,
    master_port: options.Port = None,
    python: options.Python = options.DEFAULT_PYTHON,
    data: options.Data = None,
    config: options.Config = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on: a run (`last`, its name, its folder), or a checkpoint's folder."),
    ] = None,
    runs_dir: output.RunsDir = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the command and the findings; start nothing."),
    ] = False,
    force: Annotated[
        list[str] | None,
        typer.Option(
            help="Launch although this check found an error (its name).",
            show_default=False,
        ),
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Start a job and watch over it."""
    arguments = list(ctx.args)
    if module is not None:  # every word after it belongs to the module
        arguments = [*([name] if name else []), *arguments]
        name = None
    prepared = prepare(
        Order(
            name=name,
            module=module,
            profile=profile,
            exclude_gpus=tuple(exclude_gpu or ()),
            nproc_per_node=nproc_per_node,
            master_port=master_port,
            python=python,
            runs_dir=runs_dir,
            data=data,
            configs=tuple(config or ()),
            resume=resume,
            arguments=tuple(arguments),
        )
    )
    own = [flag for option in ctx.command.params for flag in option.opts]
    if prepared.manifest is None:
        for flag, near in misspelled(arguments, own):
            output.note(f"{flag} goes to the script; gpuops has {near}.")
    if not as_json:
        output.comment(findings.findings(prepared.findings))
        output.comment(launches.plan(prepared.plan, prepared.settings))
    if dry_run or as_json:
        value = {
            "command": torchrun.argv(prepared.plan),
            "environment": torchrun.environment(prepared.plan),
            "shell": torchrun.as_shell(prepared.plan),
            "plan": prepared.plan,
            "findings": prepared.findings,
        }
        if as_json:
            output.answer(value, str, as_json=True)
        else:
            print(torchrun.as_shell(prepared.plan))
    _refuse(prepared, force or [])
    if dry_run:
        return
    _run(prepared)


def _refuse(prepared: Prepared, force: list[str]) -> None:
    """Stop at errors that nobody overruled by name."""
    errors = [found for found in prepared.findings if found.severity == "error"]
    for name in force:
        if name not in [found.check for found in prepared.findings]:
            near = difflib.get_close_matches(name, [f.check for f in prepared.findings], n=1)
            raise GpuopsError(
                f"--force {name} names no check{f'; did you mean {near[0]}?' if near else '.'}",
                f"The checks: {', '.join(found.check for found in prepared.findings)}.",
            )
    left = [found for found in errors if found.check not in force]
    if has_errors(left):
        names = ", ".join(found.check for found in left)
        raise GpuopsError(
            f"preflight found {_count(left)}, nothing was started: {names}.",
            f"Mend what it says above, or launch in spite of it with `--force {left[0].check}`.",
        )


def _count(errors: list[Finding]) -> str:
    return "an error" if len(errors) == 1 else f"{len(errors)} errors"


def _run(prepared: Prepared) -> None:
    gc.enable()
    plan, console = prepared.plan, output.stderr()
    with launches.Screen(console, brief=prepared.manifest is not None) as screen:
        outcome = supervise(
            plan,
            prepared.out_dir,
            prepared.metrics_file,
            lambda look: screen.show(look.phase, look.progress, look.lines, look.elapsed_s),
        )
    if outcome.ending == "failed":
        _show_failure(prepared, outcome)
    with contextlib.suppress(OSError):  # the terminal may be what has gone
        output.stdout().print(_summary(prepared, outcome))
    if outcome.stop_signal is not None:
        raise typer.Exit(128 + outcome.stop_signal)
    if outcome.ending == "failed":
        raise typer.Exit(int(ExitCode.FAILED))


def _show_failure(prepared: Prepared, outcome: Outcome) -> None:
    root, attempt = Path(prepared.plan.run_dir), prepared.plan.attempt
    cause = outcome.failure
    if cause is not None:
        log = run_dir.rank_log(root, attempt, cause.rank, "stderr")
        how = cause.signal_name or f"exit code {cause.exitcode}"
    else:
        log = Path(prepared.plan.log_dir, "agent.log")
        how = failure.signal_name(outcome.returncode) or f"exit code {outcome.returncode}"
    last = failure.last_words(log.read_text(errors="replace") if log.exists() else "")
    output.comment(launches.failed(cause.rank if cause else None, how, last, log))


def _summary(prepared: Prepared, outcome: Outcome) -> object:
    plan = prepared.plan
    figures = run_dir.json_lines(prepared.metrics_file) if prepared.metrics_file else []
    training = [row for row in figures if row.get("split", "train") == "train" and "loss" in row]
    evaluated = [row for row in figures if row.get("split") == "val"]
    validation: dict[str, Any] = evaluated[-1] if evaluated else {}
    losses = (training[0]["loss"], training[-1]["loss"]) if training else None
    places = {"folder": Path(plan.run_dir), "logs": Path(plan.log_dir)}
    if prepared.manifest is not None:
        places["checkpoints"] = prepared.out_dir / prepared.manifest.checkpoints
        places["curves"] = prepared.out_dir / "tensorboard"
    shown = ("step", "total_steps", "time", "split", "seconds", "epoch")
    return launches.summary(
        launch=plan,
        ending=outcome.ending,
        duration_s=outcome.duration_s,
        step=outcome.progress.step,
        total_steps=outcome.progress.total_steps,
        losses=losses,
        validation={
            key: value
            for key, value in validation.items()
            if key not in shown and isinstance(value, (int, float))
        },
        places=places,
        next_commands=_next(prepared, outcome),
    )


def _reference(plan: LaunchPlan) -> str:
    """The run as it can be typed here: its name, or its folder where runs lie elsewhere."""
    root = Path(plan.run_dir)
    if root.parent == run_dir.runs_dir(None):
        return plan.run_id
    return words.place(root, str(Path.cwd()))


def _next(prepared: Prepared, outcome: Outcome) -> list[tuple[str, str]]:
    run = _reference(prepared.plan)
    if outcome.ending == "failed":
        return [
            (f"gpuops logs {run}", "what rank 0 said; `--rank R` for another"),
            (f"gpuops runs show {run}", "what happened, and what it kept"),
            (f"gpuops launch --resume {run}", "go on from the last checkpoint"),
        ]
    if outcome.ending == "stopped":
        return [
            (f"gpuops launch --resume {run}", "go on where it stopped"),
            (f"gpuops runs show {run}", "what happened, and what it kept"),
            (f"gpuops logs {run}", "what rank 0 said"),
        ]
    shown = (f"gpuops runs show {run}", "what happened, and what it kept")
    logs = (f"gpuops logs {run}", "what rank 0 said")
    if prepared.manifest is None:
        return [shown, logs, ("gpuops runs list", "all runs")]
    curves = (f"gpuops tensorboard {run}", "the curves in a browser")
    if "evaluate" not in prepared.manifest.verbs:
        return [shown, curves, logs]
    return [(f"gpuops evaluate {run}", "measure what it has learned"), curves, shown]
