"""``gpuops launch``: start a job and supervise it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Annotated

import typer

from gpuops.cli import exit_summary, options, output
from gpuops.core.launch import torchrun
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.secrets import mask_plan, mask_variables, mask_words
from gpuops.errors import GpuopsError, UsageError
from gpuops.launch.contention import Contention
from gpuops.launch.launch import Launch
from gpuops.launch.prepare import Prepared, misspelled, prepare, refuse_errors
from gpuops.supervise.run import RunOutcome, run_attempts
from gpuops.system.processes.detach import fork_away
from gpuops.system.runs import run_dir
from gpuops.ui import findings, launches

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
FAILED = "error: "  # how the report of a detached launch that failed begins
EXAMPLES = """
**Examples**

`gpuops launch rvq --profile cpu` · train the motion RVQ-VAE on two CPU workers

`gpuops launch rvq --profile 7x4090 --exclude-gpu 0 --batch-size 80` · the trainer's flags follow

`gpuops launch ./train.py --profile 4x4090 -- --lr 3e-4` · any script that torchrun can start

`gpuops launch rvq --profile 7x4090 --wait 8h` · queue for the GPUs; `--shrink` takes fewer

`gpuops launch --resume last` · continue the newest run from its checkpoint
"""


class LeftAloneError(GpuopsError):
    """Ctrl-C while a detached launch has not begun: it does not reach that."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__(
            "the launch is detached, and goes on without this terminal.",
            "`gpuops gpus --json` shows its pid while it waits; then `gpuops stop` ends it.",
        )


@app.command(
    **options.COMMAND,
    help="Start a trainer, a script or a module under torchrun, and supervise it.\n" + EXAMPLES,
    rich_help_panel="Jobs",
)
@options.takes(options.PLANNING | options.SUPERVISION)
def launch(
    ctx: typer.Context,
    asked: LaunchOptions,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run on without this terminal; see `attach`.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command and the findings; start nothing.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Start a job and supervise it."""
    near_misses = misspelled(asked.arguments, options.spelled(ctx.command))
    only_plan = dry_run or ctx.info_name == "plan"
    if asked.simulate is not None and not only_plan:
        raise UsageError(
            "a simulated host can be planned for, not run on.",
            f"Add --dry-run, or leave --simulate {asked.simulate} out.",
        )
    try:
        prepared = prepare(asked, Contention(output.note))
    except UsageError as problem:
        for flag, near in near_misses:
            meant = f"gpuops itself has {near}: did you mean that by {flag}?"
            problem.hint = f"{meant} {problem.hint}".rstrip()
        raise
    for flag, near in near_misses if prepared.launch.manifest is None else []:
        output.note(f"{flag} goes to the script; gpuops has {near}.")
    output.comment(findings.brief(prepared.findings, prepared.selection.inventory.simulated))
    if not prepared.short:
        _show_plan(prepared.launch)
    if only_plan:
        _print_plan(prepared, as_json=as_json)
    refuse_errors(prepared.findings, asked.force)
    if not only_plan:
        _run(prepared, detach=detach, as_json=as_json)
    elif prepared.short:
        raise GpuopsError(
            "there is no command yet: it depends on which GPUs become free.",
            "Without --dry-run the launch queues; `--shrink` plans for the GPUs that are free.",
        )


def _show_plan(launch: Launch) -> None:
    output.comment(launches.plan(launch.plan, launch.settings, launch.manifest))


def _print_plan(prepared: Prepared, *, as_json: bool) -> None:
    """The command that would run; none if GPUs are missing."""
    plan = None if prepared.short else prepared.launch.plan
    shell = plan and torchrun.as_shell(plan)
    if as_json:
        value = {
            "command": plan and mask_words(torchrun.argv(plan)),
            "environment": plan and mask_variables(torchrun.environment(plan, os.environ)),
            "shell": shell,
            "plan": plan and mask_plan(output.plain(plan)),
            "findings": prepared.findings,
            "simulated": prepared.selection.inventory.simulated,
        }
        output.answer(value, str, as_json=True)
    elif shell is not None:
        print(shell)


def _run(prepared: Prepared, *, detach: bool, as_json: bool) -> None:
    gc.enable()
    try:
        say = fork_away() if detach else None
    except KeyboardInterrupt:
        raise LeftAloneError from None
    if isinstance(say, str):
        _show_detached(say)
        return
    try:
        outcome = _run_attempts(prepared, say)
    except GpuopsError as problem:
        if say is None:
            raise
        say(f"{FAILED}{problem.message}\n{problem.hint}")
        raise typer.Exit(int(problem.exit_code)) from problem
    exit_summary.show_end(outcome, as_json=as_json)


def _run_attempts(prepared: Prepared, say: Callable[[str], None] | None) -> RunOutcome:
    begun = say or (lambda _run_id: None)
    with launches.Screen(output.stderr(), brief=prepared.launch.manifest is not None) as screen:
        while True:
            try:
                return run_attempts(prepared, screen, begun=begun)
            except run_dir.RunTakenError:
                again = prepared.launch.plan.options
                prepared = prepare(again, Contention(screen.tell))  # under the next name
                _show_plan(prepared.launch)


def _show_detached(run: str) -> None:
    """Print the name of the run.

    Raises:
        GpuopsError: the launch failed; with its message.
    """
    if not run or run.startswith(FAILED):
        message, _, hint = run.removeprefix(FAILED).partition("\n")
        raise GpuopsError(message or "the detached process ended at once.", hint)
    print(run)
    output.note(f"it runs on without this terminal: `gpuops attach {run}`, `gpuops stop {run}`.")
