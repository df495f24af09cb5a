"""``gpuops launch``: start a job and watch over it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Annotated

import typer

from gpuops.cli import exit_summary, options, output
from gpuops.core.launch import torchrun
from gpuops.errors import EXIT_CODES_HELP, GpuopsError, UsageError
from gpuops.launch.launch import Launch
from gpuops.launch.prepare import Prepared, insist, misspelled, prepare
from gpuops.launch.request import LaunchOptions
from gpuops.supervise.run import RunOutcome, run_attempts
from gpuops.system import hooks
from gpuops.system.processes.detach import Child, fork_away
from gpuops.system.runs import run_dir
from gpuops.system.trainers import manifests
from gpuops.ui import findings, launches

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
FAILED = "error: "  # how a detached launch begins to say what was in its way
EXAMPLES = """
**Examples**

`gpuops launch rvq --profile cpu` · train the motion RVQ-VAE on two CPU workers

`gpuops launch rvq --profile 7x4090 --exclude-gpu 0 --batch-size 80` · its own flags just follow

`gpuops launch ./train.py --profile 4x4090 -- --lr 3e-4` · any script that torchrun can start

`gpuops launch rvq --profile 7x4090 --wait 8h` · queue for the GPUs; `--shrink` takes fewer

`gpuops launch --resume last` · go on with the newest run where it stopped
"""


@app.command(
    cls=options.Dashed,
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
    gpu: options.Gpu = None,
    exclude_gpu: options.ExcludeGpu = None,
    nproc_per_node: options.Workers = None,
    master_port: options.Port = None,
    python: options.Python = None,
    data: options.Data = None,
    config: options.Config = None,
    resume: options.Resume = None,
    runs_dir: output.RunsDir = None,
    wait: options.Wait = None,
    simulate: options.Simulate = None,
    *,
    shrink: options.Shrink = False,
    hang_timeout: options.HangTimeout = None,
    observe: options.Observe = False,
    max_restarts: options.MaxRestarts = None,
    on_hang: options.OnHang = None,
    on_exit: options.OnExit = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on without the terminal; `attach` shows it.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the command and the findings; start nothing."),
    ] = False,
    force: options.Force = None,
    as_json: output.Json = False,
) -> None:
    """Start a job and watch over it."""
    name, arguments = _target(name, ctx.args, module, resume)
    own = [flag for option in ctx.command.params for flag in option.opts]
    near_misses = misspelled(arguments, own)
    order = LaunchOptions(
        name=name,
        module=module,
        profile=profile,
        simulate=simulate,
        gpus=tuple(gpu or ()),
        exclude_gpus=tuple(exclude_gpu or ()),
        nproc_per_node=nproc_per_node,
        master_port=master_port,
        python=python,
        runs_dir=runs_dir,
        data=data,
        configs=tuple(config or ()),
        resume=resume,
        arguments=tuple(arguments),
        force=tuple(force or ()),
        shrink=shrink,
        wait_s=options.seconds(wait),
        hang_timeout_s=options.seconds(hang_timeout),
        observe=observe,
        max_restarts=max_restarts,
        on_hang=on_hang,
        on_exit=on_exit,
    )
    for command in filter(None, (on_hang, on_exit)):
        hooks.words(command)  # refused now rather than at three in the morning
    only_plan = dry_run or ctx.info_name == "plan"
    if simulate is not None and not only_plan:
        raise UsageError(
            "a simulated machine can be planned for, not run on.",
            f"Add --dry-run, or leave --simulate {simulate} out.",
        )
    try:
        prepared = prepare(order)
    except UsageError as problem:
        for flag, near in near_misses:
            problem.hint += f"\ngpuops itself has {near}: did you mean that by {flag}?"
        raise
    for flag, near in near_misses if prepared.launch.manifest is None else []:
        output.note(f"{flag} goes to the script; gpuops has {near}.")
    output.comment(findings.brief(prepared.findings, prepared.inventory.simulated))
    if not prepared.short:
        _show_plan(prepared.launch)
    if only_plan:
        _print_plan(prepared, as_json=as_json)
    insist(prepared.findings, order.force)
    if not only_plan:
        _run(order, prepared, detach=detach, as_json=as_json)
    elif prepared.short:
        raise GpuopsError(
            "there is no command yet: it is known when the GPUs are.",
            "Without --dry-run it queues; `--shrink` plans for the GPUs there are.",
        )


def _target(
    name: str | None, words: list[str], module: str | None, resume: str | None
) -> tuple[str | None, list[str]]:
    """What is to run, and the words that are its own."""
    of_module = module is not None and name not in manifests.names()
    # `launch --resume last --total-iter 200`: the first word is a flag, and no target
    of_resumed = resume is not None and name is not None and name.startswith("-")
    if name is not None and (of_module or of_resumed):
        return None, [name, *words]
    return name, list(words)


def _show_plan(launch: Launch) -> None:
    output.comment(launches.plan(launch.plan, launch.settings, launch.manifest))


def _print_plan(prepared: Prepared, *, as_json: bool) -> None:
    """The command that would run; none where GPUs are missing."""
    plan = None if prepared.short else prepared.launch.plan
    if not as_json:
        if plan is not None:
            print(torchrun.as_shell(plan))
        return
    value = {
        "command": plan and torchrun.argv(plan),
        "environment": plan and torchrun.environment(plan, os.environ),
        "shell": plan and torchrun.as_shell(plan),
        "plan": plan,
        "findings": prepared.findings,
        "simulated": prepared.inventory.simulated,
    }
    output.answer(value, str, as_json=True)


def _run(order: LaunchOptions, prepared: Prepared, *, detach: bool, as_json: bool) -> None:
    gc.enable()
    say = fork_away() if detach else None
    if isinstance(say, Child):
        _show_detached(say)
        return
    try:
        kept = _kept(order, prepared, say)
    except GpuopsError as problem:
        if say is None:
            raise
        say(f"{FAILED}{problem.message}\n{problem.hint}")
        raise typer.Exit(int(problem.exit_code)) from problem
    exit_summary.show_end(kept, as_json=as_json)


def _kept(
    order: LaunchOptions, prepared: Prepared, say: Callable[[str], None] | None
) -> RunOutcome:
    begun = say or (lambda _run_id: None)
    with launches.Screen(output.stderr(), brief=prepared.launch.manifest is not None) as screen:
        while True:
            try:
                return run_attempts(order, prepared, screen, begun=begun)
            except run_dir.RunTakenError:
                prepared = prepare(order)  # under the next name
                _show_plan(prepared.launch)


def _show_detached(child: Child) -> None:
    """The run's name, as it came to be called; or what was in its way."""
    run = child.began()
    if not run or run.startswith(FAILED):
        message, _, hint = run.removeprefix(FAILED).partition("\n")
        raise GpuopsError(message or "the detached process died at once.", hint)
    print(run)
    output.note(f"it goes on without this terminal: `gpuops attach {run}`, `gpuops stop {run}`.")
