"""A running job as its run's folder describes it, read without the models of a launch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpuops.core.hang.detector import hang_policy
from gpuops.core.machine.targets import Targets
from gpuops.core.monitor.sample import RunFacts
from gpuops.core.run import paths
from gpuops.system import files
from gpuops.system.runs import records


def read(root: Path) -> RunFacts:
    """The facts of a run; what is missing or not understood is left out."""
    plan = files.read_json(root / paths.PLAN) or {}
    target = plan.get("target")
    named: dict[str, Any] = target if isinstance(target, dict) else {}
    options = plan.get("options")
    excluded = options.get("exclude_gpus") if isinstance(options, dict) else None
    gpus = [
        gpu.get("index")
        for node in records.nodes(plan)
        for gpu in records.objects(node.get("devices"))
    ]
    timeout_s = plan.get("hang_timeout_s")
    return RunFacts(
        target=_text(named.get("name")),
        profile=_text(plan.get("profile")),
        policy=hang_policy(
            _text(named.get("kind")),
            float(timeout_s) if isinstance(timeout_s, (int, float)) else None,
        ),
        gpus=tuple(index for index in gpus if isinstance(index, int)),
        exclude_gpus=tuple(map(str, excluded)) if isinstance(excluded, list) else (),
        targets=_targets(plan.get("targets")),
    )


def _targets(found: object) -> Targets:
    """Those of the plan; what it does not say, or says in another type, is as usual."""
    usual = asdict(Targets())
    given = found if isinstance(found, dict) else {}
    right = {name: given[name] for name in usual if type(given.get(name)) in (int, float)}
    return Targets(**usual | right)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
