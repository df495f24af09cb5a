"""``gpuops preflight``: what would go wrong, before it does."""

from __future__ import annotations

from typing import Annotated

import typer

from gpuops.cli import options, output
from gpuops.core.preflight import has_errors
from gpuops.errors import EXIT_CODES_HELP, ExitCode
from gpuops.launcher import Order, prepare
from gpuops.ui import findings

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
    exclude_gpu: options.ExcludeGpu = None,
    nproc_per_node: options.Workers = None,
    master_port: options.Port = None,
    python: options.Python = None,
    data: options.Data = None,
    config: options.Config = None,
    runs_dir: output.RunsDir = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail it too.")] = False,
    as_json: output.Json = False,
) -> None:
    """Look at the machine, and say what would go wrong before it does."""
    prepared = prepare(
        Order(
            name=name,
            module=module,
            anything=name is None and module is None,
            profile=profile,
            exclude_gpus=tuple(exclude_gpu or ()),
            nproc_per_node=nproc_per_node,
            master_port=master_port,
            python=python,
            runs_dir=runs_dir,
            data=data,
            configs=tuple(config or ()),
            arguments=tuple(ctx.args),
        )
    )
    output.answer(
        {"findings": prepared.findings},
        lambda: findings.findings(prepared.findings),
        as_json=as_json,
    )
    if has_errors(prepared.findings) or (
        strict and any(found.severity == "warning" for found in prepared.findings)
    ):
        raise typer.Exit(int(ExitCode.FAILED))
