"""The settings that flags and files resolve to: asked of the trainer, in its interpreter."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.plan import Setting, wished
from gpuops.core.launch.profile import Profile
from gpuops.errors import ExitCode, GpuopsError, UsageError
from gpuops.system.trainers import modules
from gpuops.text import printable

TIMEOUT_S = 60.0
LONGEST = 2000


def resolve(python: str, module: str, arguments: Sequence[str], cwd: str) -> dict[str, Any] | None:
    """The resolved settings, flat by name; ``None`` if the interpreter does not run at all.

    Raises:
        UsageError: the trainer refuses a flag or a file, in the trainer's own words.
        GpuopsError: the trainer cannot answer.
    """
    answer = ask(python, module, arguments, cwd)
    return None if answer is None else dict(_leaves(answer))


def ask(
    python: str,
    module: str,
    arguments: Sequence[str],
    cwd: str,
    *,
    what: str = "its settings",
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any] | None:
    """The JSON object that a trainer's module prints; ``None`` if the interpreter does not run.

    Raises:
        UsageError: the module refuses a flag or a file, in its own words.
        GpuopsError: it cannot print ``what``; with its own error, if it printed one.
    """
    try:
        answer = modules.run(python, module, arguments, cwd, timeout_s)
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        raise GpuopsError(
            f"{module} did not print {what} within {timeout_s:.0f} s.",
            "Is the machine overloaded, or a network file system stuck?",
        ) from None
    if answer.returncode == ExitCode.USAGE:
        raise UsageError(*_error_and_hint(answer.stderr))
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines()
        if any(line.startswith("error: ") for line in lines):
            raise GpuopsError(*_error_and_hint(answer.stderr))
        last = printable((lines or ["it printed nothing"])[-1], LONGEST)
        raise GpuopsError(
            f"{module} could not print {what} with {python}: {last}.",
            "Is gpuops installed with its dependencies in that interpreter?",
        )
    try:
        found = json.loads(answer.stdout)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GpuopsError(f"{module} did not print {what} as JSON.", f"Try: {python} -m {module}")
    return found


def refused_wishes(profile: Profile, manifest: Manifest, python: str, cwd: str) -> list[str]:
    """What a trainer refuses of what a profile wishes for it: all of it, by dotted path.

    Raises:
        GpuopsError: the trainer cannot answer.
    """

    def refusal(some: Mapping[str, Setting]) -> str | None:
        try:
            ask(python, manifest.answers.config, wished(some), cwd)
        except UsageError as problem:
            return problem.message.removesuffix(".")
        return None

    path, wishes = f"trainers.{manifest.name}", profile.trainers.get(manifest.name, {})
    together = refusal(wishes) if wishes else None
    if together is None:
        return []
    alone = {key: refusal({key: value}) for key, value in wishes.items()}
    # In a profile there are no flags.
    refused = [
        f"{path}.{key}: {words}".replace(f"--{key}", key).replace("nearest is --", "nearest is ")
        for key, words in alone.items()
        if words is not None
    ]
    return refused or [f"{path}: {together}"]


def help_text(python: str, module: str) -> str:
    """The trainer's own list of settings."""
    return modules.run(python, module, ["--help"], ".", TIMEOUT_S).stdout


def _error_and_hint(stderr: str) -> tuple[str, str]:
    message = hint = ""
    for line in stderr.splitlines():
        kind, _, text = line.partition(": ")
        if kind == "error":
            message = text
        elif kind == "hint":
            hint = text
    return printable(message or stderr.strip(), LONGEST), printable(hint, LONGEST)


def _leaves(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        found.extend(_leaves(value) if isinstance(value, dict) else [(key, value)])
    return found
