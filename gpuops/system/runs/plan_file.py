"""A run's plan, read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files


def load(root: Path) -> LaunchPlan:
    """The plan that a run was last started with.

    Raises:
        GpuopsError: it is missing or broken.
    """
    path = root / paths.PLAN
    try:
        # Not pydantic's JSON: it refuses an argument that is not UTF-8 (a lone surrogate).
        with files.open_regular(path) as file:
            document = json.loads(file.read(files.LONGEST_JSON).decode())
        return TypeAdapter(LaunchPlan).validate_python(document)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].lower()}"
    except (ValueError, RecursionError):
        reason = "it is not JSON"
    raise GpuopsError(f"{path} cannot be used: {reason}.", "Launch it again without --resume.")
