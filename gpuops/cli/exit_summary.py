"""What launch, supervise and attach show at the end of a run."""

from __future__ import annotations

import contextlib

import typer

from gpuops.cli import output
from gpuops.supervise.run import RunOutcome
from gpuops.supervise.summary import summarise
from gpuops.ui import diagnoses, launches


def show_end(kept: RunOutcome, *, as_json: bool) -> None:
    """The closing summary; exits with what the run's end means."""
    closing = summarise(kept.launch, kept.outcome, kept.given_up)
    with contextlib.suppress(OSError, SystemExit):  # the terminal, or the pipe, may have gone
        if closing.failure is not None:
            output.comment(launches.failed(closing.failure))
        if kept.outcome.diagnosis is not None and kept.outcome.ending == "failed":
            output.comment(diagnoses.diagnosis(kept.outcome.diagnosis))
        if kept.given_up is not None:
            output.comment(launches.given_up(kept.given_up))
        here = kept.launch.plan.working_dir
        output.answer(closing, lambda: launches.closing(closing, here), as_json=as_json)
    if closing.exit_code:
        raise typer.Exit(closing.exit_code)
