"""``gpuops preflight``: what would go wrong, before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpuops.cli import options, output
from gpuops.cli.hints import hint_launch_flags
from gpuops.core.finding import Finding
from gpuops.core.preflight.preflight import stopping
from gpuops.errors import EXIT_CODES_HELP, ExitCode
from gpuops.launch.prepare import misspelled, prepare
from gpuops.launch.request import LaunchOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(add_completion=False)


@app.command(
    cls=options.Dashed,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=EXIT_CODES_HELP,
    rich_help_panel="Jobs",
)
def preflight(
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
    force: options.Force = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail it too.")] = False,
    as_json: output.Json = False,
) -> None:
    """Look at the machine, and say what would go wrong before it does."""
    with hint_launch_flags(ctx):
        prepared = prepare(
            LaunchOptions(
                name=name,
                module=module,
                anything=name is None and module is None and resume is None,
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
                arguments=tuple(ctx.args),
                force=tuple(force or ()),
                shrink=shrink,
                wait_s=options.seconds(wait),
            )
        )
    stop = stopping(prepared.findings, tuple(force or ()))
    if prepared.launch.manifest is None:
        own = [flag for option in ctx.command.params for flag in option.opts]
        for flag, near in misspelled(ctx.args, own):
            output.note(f"{flag} goes to the script; gpuops has {near}.")
    output.answer(
        {"simulated": prepared.inventory.simulated, "findings": prepared.findings},
        lambda: _shown(prepared.findings, prepared.inventory.simulated),
        as_json=as_json,
    )
    if stop or (strict and any(found.severity == "warning" for found in prepared.findings)):
        raise typer.Exit(int(ExitCode.FAILED))


def _shown(found: Sequence[Finding], simulated: str | None) -> RenderableType:
    from gpuops.ui import findings  # noqa: PLC0415 - rich, which JSON does without

    return findings.findings(found, simulated)
