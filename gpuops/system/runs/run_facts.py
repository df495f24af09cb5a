"""What a run's folder says about a running job, read without the models that a launch needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuops.core.hang.detector import hang_policy
from gpuops.core.monitor.sample import RunFacts
from gpuops.core.run import paths
from gpuops.system import files


def read(root: Path) -> RunFacts:
    """The facts of a run; what is missing or not understood is left out."""
    plan = files.read_json(root / paths.PLAN) or {}
    target = plan.get("target")
    named: dict[str, Any] = target if isinstance(target, dict) else {}
    options = plan.get("options")
    excluded = options.get("exclude_gpus") if isinstance(options, dict) else None
    gpus = [gpu.get("index") for node in nodes(plan) for gpu in _objects(node.get("devices"))]
    timeout_s = plan.get("hang_timeout_s")
    return RunFacts(
        target=_word(named.get("name")),
        profile=_word(plan.get("profile")),
        policy=hang_policy(
            _word(named.get("kind")),
            float(timeout_s) if isinstance(timeout_s, (int, float)) else None,
        ),
        gpus=tuple(index for index in gpus if isinstance(index, int)),
        exclude_gpus=tuple(map(str, excluded)) if isinstance(excluded, list) else (),
    )


def nodes(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a plan as its file tells them; what is not told in a known way is left out."""
    return _objects(plan.get("nodes"))


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None
