"""From a run's folder to a report of it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuops.core.diagnosis import diagnosis as diagnoses
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.report.report import Report, report
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.runs import events, records, telemetry

SECRET = {"profile_environment", "on_hang", "on_exit"}
HIDDEN = "(not shown here: it may hold secrets)"
MOST_CHARACTERS = 60_000


def read(root: Path) -> Report:
    """All that a run's folder tells of it; what is missing or broken tells nothing.

    Raises:
        GpuopsError: it is no run's folder (any more).
    """
    run = records.load(root)
    if run is None:
        raise GpuopsError(f"{root} is no run folder any more.")
    return report(
        run=run,
        command=_command(files.read_json(root / paths.PLAN) or {}),
        events=events.read(root),
        recording=telemetry.read(root),
        figures=files.read_json_lines(root / paths.METRICS),
        diagnoses=_diagnoses(root / paths.DIAGNOSES),
        configuration=_configuration(root),
        environment=files.read_json(root / paths.ENVIRONMENT) or {},
        now_s=time.time(),
    )


def _configuration(root: Path) -> dict[str, str]:
    """Settings and plan, without what may be secret: a page is sent to others."""
    plan = files.read_json(root / paths.PLAN)
    shown = {paths.CONFIGURATION: _text(root / paths.CONFIGURATION)}
    if plan is not None:
        told = {name: HIDDEN if name in SECRET and plan[name] else plan[name] for name in plan}
        shown[paths.PLAN] = json.dumps(told, indent=2, ensure_ascii=False)
    return {name: text for name, text in shown.items() if text is not None}


def _command(plan: Mapping[str, Any]) -> str:
    """What was launched, in the words of a command line."""
    target, arguments = plan.get("target"), plan.get("arguments")
    target = target if isinstance(target, dict) else {}
    kind, name, entry = (str(target.get(key, "")) for key in ("kind", "name", "entry"))
    what = {"trainer": [name], "module": ["-m", entry]}.get(kind, [entry])
    words = ["gpuops", "launch", *what, "--profile", str(plan.get("profile", ""))]
    return shlex.join([*words, *map(str, arguments if isinstance(arguments, list) else [])])


def _diagnoses(folder: Path) -> dict[tuple[int, str], Diagnosis]:
    found: dict[tuple[int, str], Diagnosis] = {}
    try:
        listed = sorted(folder.iterdir())
    except OSError:
        return {}
    for path in listed:
        named = paths.parse_diagnosis(path.name)
        known = diagnoses.from_json(files.read_json(path) or {}) if named else None
        if named and known is not None:
            found[named] = known
    return found


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MOST_CHARACTERS)
    except OSError:
        return None
