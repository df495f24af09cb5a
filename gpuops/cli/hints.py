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
        from gpuops.cli.launch import app  # noqa: PLC0415 - only who erred pays for it

        own = set(options.spelled(ctx))
        launch = {flag for option in typer.main.get_command(app).params for flag in option.opts}
        refused = {word for word in problem.message.split() if word in ctx.args}
        for flag in sorted(refused & (launch - own)):
            problem.hint = (
                f"{flag} is a flag of `gpuops launch`; {ctx.info_name} has no use for it."
            )
        raise
