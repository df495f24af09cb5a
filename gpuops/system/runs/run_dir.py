"""The folder of a run: where it lies, how it is named and made; ``core.run.paths`` lays it out."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gpuops.core.launch import secrets
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files

if TYPE_CHECKING:
    from gpuops.core.launch.plan import LaunchPlan

RUNS_VARIABLE = "GPUOPS_RUNS_DIR"
OWNER_ALONE = 0o600


class RunTakenError(GpuopsError):
    """Another launch of the same second has taken the name."""


def runs_dir(given: Path | None) -> Path:
    """The folder of all runs: the given one, ``$GPUOPS_RUNS_DIR``, or ./runs."""
    return (given or Path(os.environ.get(RUNS_VARIABLE) or "runs")).absolute()


def new_run_id(runs: Path, name: str, now_s: float) -> str:
    """A name that sorts by time and is not taken yet: ``20261121-061230-rvq``."""
    typeable = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now_s))}-{typeable}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not files.exists(runs / name))


def create(plan: LaunchPlan) -> None:
    """Make the run's folder (on its first attempt) and the attempt's folders, and keep the plan.

    Raises:
        GpuopsError: the folder cannot be written.
    """
    root = Path(plan.run_dir)
    try:
        root.mkdir(parents=True, exist_ok=plan.attempt > 1)
        Path(root, paths.beats(plan.attempt)).mkdir(parents=True)
        Path(root, paths.logs(plan.attempt)).mkdir(parents=True)
    except FileExistsError as error:
        raise RunTakenError(
            f"the run folder {root} was taken by another launch just now.", "Launch again."
        ) from error
    except OSError as error:
        raise GpuopsError(
            f"the run folder {root} cannot be made: {error.strerror}.",
            "Choose another place with `--runs-dir DIR`.",
        ) from error
    for folder in (root, root / paths.DIAGNOSES):
        files.sweep(folder)  # of a supervisor that was killed
    try:
        _write_plan(root, plan)
    except GpuopsError:  # an attempt that is in no plan is none
        for name in (
            paths.beats(plan.attempt),
            paths.state(plan.attempt),
            paths.logs(plan.attempt),
        ):
            with contextlib.suppress(OSError):
                (root / name).rmdir()
        raise


def _write_plan(root: Path, plan: LaunchPlan) -> None:
    """Write the plan, masked, and what was masked to a file that only its owner can read."""
    whole = json.loads(json.dumps(asdict(plan)))
    masked = secrets.mask_plan(whole)
    files.write_json(root / paths.SECRETS, secrets.secret_part(whole, masked), mode=OWNER_ALONE)
    files.write_json(root / paths.PLAN, masked)


def link_outputs(root: Path, out_dir: Path) -> None:
    """If a trainer writes elsewhere, the run folder links to it."""
    if out_dir.absolute() == root.absolute():
        return
    try:
        for name in paths.OUTPUTS:
            files.link(root / name, str(out_dir.absolute() / name))
    except OSError as error:
        raise GpuopsError(
            f"{root} cannot link to {out_dir}: {error.strerror}.",
            "Let the trainer write into the run's folder: leave out --out-dir.",
        ) from error
