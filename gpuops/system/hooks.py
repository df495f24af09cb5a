"""The user's commands that run when something happens to a job; they get JSON on stdin."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Mapping
from typing import Any

from gpuops.errors import UsageError

TIMEOUT_S = 60.0


def words(command: str) -> list[str]:
    """The command as a list of words; it never runs in a shell.

    Raises:
        UsageError: its quotes do not close, or it is empty.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the command {command!r} cannot be read: {error}.") from error
    if not parts:
        raise UsageError("a command to run is empty.", "`--on-exit './notify.sh'`")
    return parts


def run(command: str, happened: Mapping[str, Any]) -> threading.Thread:
    """Start a hook, for at most a minute; its output and exit code are ignored."""
    thread = threading.Thread(target=_run, args=(words(command), dict(happened)), daemon=True)
    thread.start()
    return thread


def _run(command: list[str], happened: dict[str, Any]) -> None:
    try:
        subprocess.run(
            command,
            input=json.dumps(happened, ensure_ascii=False).encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return  # the job matters more than its hooks
