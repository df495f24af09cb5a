"""What a trainer's flags and files come to: asked of the trainer itself, in the other Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from gpuops.errors import GpuopsError, UsageError
from gpuops.system import modules

TIMEOUT_S = 60.0
USAGE = 2


def resolve(python: str, module: str, arguments: Sequence[str], cwd: str) -> dict[str, Any] | None:
    """The resolved settings, flat by name; ``None`` where the interpreter does not run at all.

    Raises:
        UsageError: the trainer refuses a flag or a file, in the trainer's own words.
        GpuopsError: the trainer cannot say.
    """
    try:
        answer = _run(python, module, arguments, cwd)
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        raise GpuopsError(
            f"{module} did not resolve its settings within {TIMEOUT_S:.0f} s.",
            "Is the machine overloaded, or a network file system stuck?",
        ) from None
    if answer.returncode == USAGE:
        raise UsageError(*_words(answer.stderr))
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise GpuopsError(
            f"{module} could not resolve its settings with {python}: {last}.",
            "Is gpuops installed with its dependencies in that interpreter?",
        )
    try:
        return dict(_leaves(json.loads(answer.stdout)))
    except (ValueError, AttributeError):
        raise GpuopsError(
            f"{module} did not print its settings as JSON.", f"Try: {python} -m {module}"
        ) from None


def help_text(python: str, module: str) -> str:
    """The trainer's own list of settings."""
    return _run(python, module, ["--help"], ".").stdout


def _run(
    python: str, module: str, arguments: Sequence[str], cwd: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", module, *arguments],
        cwd=cwd,
        env=modules.environment(python),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
    )


def _words(stderr: str) -> tuple[str, str]:
    message = hint = ""
    for line in stderr.splitlines():
        kind, _, text = line.partition(": ")
        if kind == "error":
            message = text
        elif kind == "hint":
            hint = text
    return message or stderr.strip(), hint


def _leaves(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        found.extend(_leaves(value) if isinstance(value, dict) else [(key, value)])
    return found
