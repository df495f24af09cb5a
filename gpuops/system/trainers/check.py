"""A trainer's own check, run by the interpreter that will train."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from gpuops.core.finding import Finding, warning
from gpuops.core.launch.validation import describe_first
from gpuops.system.trainers import modules
from gpuops.text import one_line

TIMEOUT_S = 60.0
CHECK = "trainer"  # the name under which a check that went wrong is shown
MOST = 50


def check(python: str, module: str, arguments: Sequence[str], cwd: str) -> tuple[Finding, ...]:
    """What the trainer finds for the arguments that it will be given.

    A check that does not end, crashes or prints something else is one warning: it must not stop
    a training that may well run.
    """
    try:
        answer = modules.run(python, module, arguments, cwd, TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return _went_wrong(module, f"did not end within {TIMEOUT_S:.0f} s")
    except OSError as error:
        return _went_wrong(module, f"does not run with {python}: {error.strerror}")
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it printed nothing"]
        why = next((line for line in lines if line.startswith("error: ")), lines[-1])
        return _went_wrong(module, f"ended with exit code {answer.returncode}: {why.rstrip('.')}")
    try:
        found = TypeAdapter(Annotated[list[Finding], Field(max_length=MOST)]).validate_json(
            answer.stdout, strict=True
        )
    except ValidationError as problem:
        first = describe_first(problem, "its output")
        return _went_wrong(module, f"did not print findings: {first}")
    return tuple(
        replace(
            one, check=one_line(one.check), summary=one_line(one.summary), hint=one_line(one.hint)
        )
        for one in found
    )


def _went_wrong(module: str, words: str) -> tuple[Finding, ...]:
    hint = f"The job may run all the same; `python -m {module}` shows more."
    return (warning(CHECK, one_line(f"{module} {words}"), hint),)
