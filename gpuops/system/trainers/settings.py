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
    """The resolved settings, flat by name; ``None`` where the interpreter does not run at all.

    Raises:
        UsageError: the trainer refuses a flag or a file, in the trainer's own words.
        GpuopsError: the trainer cannot say.
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
    """The JSON object that a trainer's module prints; ``None`` where the interpreter does not run.

    Raises:
        UsageError: the module refuses a flag or a file, in its own words.
        GpuopsError: it cannot tell ``what``; with its own error, if it printed one.
    """
    try:
        answer = _run(python, module, arguments, cwd, timeout_s)
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        raise GpuopsError(
            f"{module} did not tell {what} within {timeout_s:.0f} s.",
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
            f"{module} could not tell {what} with {python}: {last}.",
            "Is gpuops installed with its dependencies in that interpreter?",
        )
    try:
        found = json.loads(answer.stdout)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GpuopsError(f"{module} did not print {what} as JSON.", f"Try: {python} -m {module}")
    return found


def insist_on_wishes(
    source: str, profile: Profile, manifest: Manifest, python: str, cwd: str
) -> None:
    """Where a trainer has refused something: find out whether it was the profile's wish.

    Raises:
        UsageError: it was; names the profile by its ``source``, and the dotted path.
    """
    wrong = refused_wishes(profile, manifest, python, cwd)
    if wrong:
        raise UsageError(
            f"profile {source}: {'; '.join(wrong)}.",
            f"`gpuops trainers show {manifest.name}` lists its settings.",
        )


def refused_wishes(profile: Profile, manifest: Manifest, python: str, cwd: str) -> list[str]:
    """What a trainer refuses of what a profile wishes for it: all of it, by dotted path.

    Raises:
        GpuopsError: the trainer cannot say.
    """

    def refusal(some: Mapping[str, Setting]) -> str | None:
        try:
            ask(python, manifest.answers.config, wished(some), cwd)
        except UsageError as problem:
            return problem.message
        return None

    path, wishes = f"trainers.{manifest.name}", profile.trainers.get(manifest.name, {})
    together = refusal(wishes) if wishes else None
    if together is None:
        return []
    alone = {key: refusal({key: value}) for key, value in wishes.items()}
    # In a profile there are no flags.
    said = [
        f"{path}.{key}: {words}".replace(f"--{key}", key).replace("nearest is --", "nearest is ")
        for key, words in alone.items()
        if words is not None
    ]
    return said or [f"{path}: {together}"]


def help_text(python: str, module: str) -> str:
    """The trainer's own list of settings."""
    return _run(python, module, ["--help"], ".", TIMEOUT_S).stdout


def _run(
    python: str, module: str, arguments: Sequence[str], cwd: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", module, *arguments],
        cwd=cwd,
        env=modules.environment(python, module),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


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
