"""A run's plan, read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gpuops.core.launch import secrets
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files, owners


def load(root: Path) -> LaunchPlan:
    """The plan that a run was last started with; masked if its secrets may not be read.

    Raises:
        GpuopsError: it is missing or broken.
    """
    return _load(root, _secrets(root) or {})


def load_whole(root: Path) -> LaunchPlan:
    """The plan that a run was last started with, to start it again.

    Raises:
        GpuopsError: it is missing or broken, or its secrets are.
    """
    hidden = _secrets(root)
    if hidden is None and secrets.MASK in files.tail(root / paths.PLAN, files.LONGEST_JSON):
        raise GpuopsError(
            f"{root / paths.SECRETS} cannot be read: it holds what {paths.PLAN} masks.",
            "Put it back, or launch again without --resume.",
        )
    return _load(root, hidden or {})


def _secrets(root: Path) -> dict[str, Any] | None:
    """What the plan masks. It may say what is started, so no other user may have written it."""
    return files.read_json(root / paths.SECRETS, of=owners.trusted())


def _load(root: Path, hidden: dict[str, Any]) -> LaunchPlan:
    path = root / paths.PLAN
    try:
        # Not pydantic's JSON: it refuses an argument that is not UTF-8 (a lone surrogate).
        with files.open_regular(path) as file:
            document = json.loads(file.read(files.LONGEST_JSON).decode())
        whole = secrets.unmask(document, hidden) if hidden else document
        return TypeAdapter(LaunchPlan).validate_python(whole)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].lower()}"
    except (ValueError, RecursionError):
        reason = "it is not JSON"
    raise GpuopsError(f"{path} cannot be used: {reason}.", "Launch it again without --resume.")
