"""A run's plan, read back from its folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gpuops.core.launch import secrets
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files, owners

NOT_JSON = "it is not JSON"


def load(root: Path, of: Collection[int] | None = None) -> LaunchPlan:
    """The plan that a run was last started with; masked if its secrets may not be read.

    ``of``: the users to one of whom its file must belong, for who runs what it names.

    Raises:
        GpuopsError: it is missing, broken or another user's.
    """
    return _parse(root, _read(root, of), _secrets(root) or {})


def load_whole(root: Path) -> LaunchPlan:
    """The plan that a run was last started with, to start it again.

    Raises:
        GpuopsError: it is missing, broken or another user's, or its secrets are.
    """
    hidden, text = _secrets(root), _read(root, owners.trusted())
    if hidden is None and secrets.MASK in text:
        raise GpuopsError(
            f"{root / paths.SECRETS} cannot be read: it holds what {paths.PLAN} masks.",
            "Put it back, or launch again without --resume.",
        )
    return _parse(root, text, hidden or {})


def _secrets(root: Path) -> dict[str, Any] | None:
    """What the plan masks. It may say what is started, so no other user may have written it."""
    return files.read_json(root / paths.SECRETS, of=owners.trusted())


def _read(root: Path, of: Collection[int] | None) -> str:
    """The text of a plan. Its owner is that of the file that is read: a name may lead elsewhere."""
    try:
        with files.open_regular(root / paths.PLAN, of) as file:
            return file.read(files.LONGEST_JSON).decode()
    except OSError as error:
        raise _unusable(root, error.strerror or str(error)) from None
    except ValueError:
        raise _unusable(root, NOT_JSON) from None


def _parse(root: Path, text: str, hidden: dict[str, Any]) -> LaunchPlan:
    try:
        # Not pydantic's JSON: it refuses an argument that is not UTF-8 (a lone surrogate).
        document = json.loads(text)
        whole = secrets.unmask(document, hidden) if hidden else document
        return TypeAdapter(LaunchPlan).validate_python(whole)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].lower()}"
    except (ValueError, RecursionError):
        reason = NOT_JSON
    raise _unusable(root, reason)


def _unusable(root: Path, reason: str) -> GpuopsError:
    return GpuopsError(
        f"{root / paths.PLAN} cannot be used: {reason}.", "Launch it again without --resume."
    )
