"""What launch, supervise and stop show at the end of a run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import typer

from gpuops.cli import output
from gpuops.cli.streams import AnswerLostError
from gpuops.launch.launch import recall
from gpuops.supervise.run import Adopted, RunOutcome, run_attempts
from gpuops.supervise.summary import summarise
from gpuops.system import owners
from gpuops.system.processes.process import Job
from gpuops.system.runs import plan_file, records
from gpuops.ui import diagnoses, launches


def supervise_to_the_end(
    root: Path, *, begun: Callable[[str], None] = lambda _run_id: None, as_json: bool = False
) -> None:
    """Take over a run that another process started; show its end as ``show_end`` does.

    Raises:
        UsageError: its record names processes that are not the run's.
        GpuopsError: it has a supervisor.
    """
    records.require_proven(root)
    launch = recall(replace(plan_file.load(root, owners.trusted()), run_dir=str(root)))
    gc.enable()
    with launches.Screen(output.stderr(), brief=launch.manifest is not None) as screen:
        adopted = Adopted(launch=launch, job=Job(Path(launch.plan.state_dir)))
        ended = run_attempts(adopted, screen, begun=begun)
    show_end(ended, as_json=as_json)


def show_end(ended: RunOutcome, *, as_json: bool) -> None:
    """Print the closing summary; exit with the code of the run's end."""
    closing = summarise(ended.launch, ended.outcome, ended.given_up)
    # The terminal or the pipe may have gone: how the job ended still counts.
    with contextlib.suppress(OSError, AnswerLostError):
        if closing.failure is not None:
            output.comment(launches.failed(closing.failure))
        if ended.outcome.diagnosis is not None and ended.outcome.ending == "failed":
            output.comment(diagnoses.diagnosis(ended.outcome.diagnosis))
        if ended.given_up is not None:
            output.comment(launches.given_up(ended.given_up))
        here = ended.launch.plan.working_dir
        output.answer(closing, lambda: launches.closing(closing, here), as_json=as_json)
    if closing.exit_code:
        raise typer.Exit(closing.exit_code)
