"""Hints for flags that belong to another command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from gpuops.cli import options
from gpuops.errors import UsageError


@contextmanager
def hint_launch_flags(ctx: typer.Context) -> Iterator[None]:
    """Explain a flag that a trainer refuses because it is a flag of `gpuops launch`.

    Raises:
        UsageError: the same, with that hint.
    """
    try:
        yield
    except UsageError as problem:
        from gpuops.cli.launch import app  # noqa: PLC0415 - slow, and only for a mistake

        own = set(options.spelled(ctx.command))
        launch = set(options.spelled(typer.main.get_command(app)))
        refused = {word for word in problem.message.split() if word in ctx.args}
        for flag in sorted(refused & (launch - own)):
            problem.hint = f"{flag} is a flag of `gpuops launch`; {ctx.info_name} does not use it."
        raise
