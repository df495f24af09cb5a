"""Reads a run's folder into a report."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuops.core.diagnosis import diagnosis as diagnoses
from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.launch import secrets
from gpuops.core.report.report import Report, report
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files, owners
from gpuops.system.runs import events, records, telemetry

MOST_CHARACTERS = 60_000


def read(root: Path) -> Report:
    """Read the report of a run's folder; missing and broken files are skipped.

    Raises:
        GpuopsError: it is not (or no longer) a run's folder.
    """
    run = records.load(root)
    if run is None:
        raise GpuopsError(f"{root} is not a run folder any more.")
    return report(
        run=run,
        command=_command(files.read_json(root / paths.PLAN) or {}),
        events=events.read(root),
        recording=telemetry.read(root),
        figures=files.read_json_lines(root / paths.METRICS),
        diagnoses=_diagnoses(root / paths.DIAGNOSES),
        configuration=_configuration(root),
        environment=files.read_json(root / paths.ENVIRONMENT, of=_owners(root)) or {},
        now_s=time.time(),
    )


def _configuration(root: Path) -> dict[str, str]:
    """Settings and plan, without values that may be secret: a page is sent to others."""
    plan = files.read_json(root / paths.PLAN)
    settings = _text(root / paths.CONFIGURATION, _owners(root))
    shown = {}
    if settings is not None:
        shown[paths.CONFIGURATION] = secrets.mask_lines(settings)
    if plan is not None:  # an older one is not masked
        shown[paths.PLAN] = json.dumps(secrets.mask_plan(plan), indent=2, ensure_ascii=False)
    return {name: text[:MOST_CHARACTERS] for name, text in shown.items()}


def _command(plan: Mapping[str, Any]) -> str:
    target, arguments = plan.get("target"), plan.get("arguments")
    target = target if isinstance(target, dict) else {}
    kind, name, entry = (str(target.get(key, "")) for key in ("kind", "name", "entry"))
    what = {"trainer": [name], "module": ["-m", entry]}.get(kind, [entry])
    words = ["gpuops", "launch", *what, "--profile", str(plan.get("profile", ""))]
    own = list(map(str, arguments if isinstance(arguments, list) else []))
    return shlex.join([*words, *secrets.mask_words(own)])


def _diagnoses(folder: Path) -> dict[tuple[int, str], Diagnosis]:
    """The diagnoses of a run; of very many, the newest."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all it takes
    except OSError:
        return {}
    named = {folder / name: one for name in names if (one := paths.parse_diagnosis(name))}
    newest = files.affordable(sorted(named, key=lambda path: named[path], reverse=True))
    return {
        named[path]: known
        for path in newest
        if (known := diagnoses.from_json(files.read_json(path) or {})) is not None
    }


def _owners(root: Path) -> set[int]:
    """The run's owner: a link may lead to a private file of the user who reads it."""
    uid = owners.owner(root, follow=True)
    return set() if uid is None else {uid}


def _text(path: Path, of: set[int]) -> str | None:
    """A text of the run's owner: a link may lead to a private file of the user who reads it."""
    try:
        with files.open_regular(path, of, follow=True) as file:
            return file.read(4 * MOST_CHARACTERS).decode(errors="replace")
    except OSError:
        return None
