"""From the words on a command line to the launch that they ask for."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from gpuops.core.launch.manifest import Manifest, flag
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan, LaunchRequest, Target
from gpuops.core.run import paths
from gpuops.core.run.record import describe_stopped
from gpuops.errors import UsageError
from gpuops.launch.inventory import scheduler_variables
from gpuops.system import files
from gpuops.system.runs import ownership, plan_file, records, run_dir, supervisor_lock
from gpuops.system.trainers import manifests, modules

RESUME = "launch --resume"


def request(options: LaunchOptions) -> tuple[Manifest | None, LaunchRequest]:
    """The launch that the options ask for, and the manifest if it is of a trainer.

    Raises:
        GpuopsError: something that the options name does not exist.
        UsageError: the options do not go together.
    """
    if options.allotted is None:
        options = replace(options, allotted=scheduler_variables())
    runs = run_dir.runs_dir(Path(options.runs_dir) if options.runs_dir else None)
    root = _run_to_resume(options, runs)
    return _first_attempt(options, runs) if root is None else _next_attempt(options, root)


def _first_attempt(options: LaunchOptions, runs: Path) -> tuple[Manifest | None, LaunchRequest]:
    python = _interpreter(options.python or sys.executable)
    if options.machine_only:
        target, manifest = Target(kind="script", name="any", entry="train.py"), None
    else:
        target, manifest = manifests.target(options.name, options.module)
    run_id = run_dir.new_run_id(runs, target.name, time.time())
    root = str(runs / run_id)
    resumed = options.resume is not None
    return manifest, LaunchRequest(
        options=replace(options, profile=_lasting(options.profile)),
        target=target,
        run_id=run_id,
        run_dir=root,
        python=python,
        import_path=modules.import_path(python, manifest.train if manifest else None),
        defaults={manifest.out_dir_setting: root} if manifest else {},
        arguments=(*_own_flags(options, manifest), *options.arguments),
        resume_arguments=(_resume_flag(manifest), options.resume or "") if resumed else (),
        working_dir=str(Path.cwd()),
    )


def _next_attempt(typed: LaunchOptions, root: Path) -> tuple[Manifest | None, LaunchRequest]:
    """The same run again, from its newest checkpoint; what is typed now is added."""
    ownership.require_ours(root, RESUME)
    ownership.require_trusted_checkpoints(root)
    before = plan_file.load_whole(root)
    target = before.target
    if typed.name not in {None, target.name, target.entry}:
        raise UsageError(
            f"run {before.run_id} launched {target.name}, not {typed.name}.",
            f"`gpuops launch {target.name} --resume {before.run_id}` continues it.",
        )
    _refuse_running(before, root)
    if not os.access(root, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder of run {before.run_id} cannot be written, so it cannot go on there.",
            "A new run can start from its checkpoint: name it with `--resume`.",
        )
    manifest = manifests.load(target.name) if target.kind == "trainer" else None
    own = {manifest.out_dir_setting} if manifest else set()
    python = _interpreter(typed.python) if typed.python else before.python
    # As many ranks as were wanted: --shrink counted for one attempt, on the GPUs that were free.
    held = replace(before.options, profile=before.profile, nproc_per_node=before.ranks_wanted)
    return manifest, LaunchRequest(
        options=held.next_attempt(replace(typed, profile=_lasting(typed.profile))),
        target=target,
        run_id=before.run_id,
        run_dir=str(root),
        python=python,
        import_path=modules.import_path(python, manifest.train if manifest else None),
        attempt=records.next_attempt(root),
        defaults={key: value for key, value in before.defaults.items() if key in own},
        arguments=(*before.arguments, *_own_flags(typed, manifest), *typed.arguments),
        # A script is started again with the same command: only the script knows how to resume.
        resume_arguments=(_resume_flag(manifest), "auto") if manifest else (),
        working_dir=before.working_dir,
    )


def _refuse_running(before: LaunchPlan, root: Path) -> None:
    if records.is_running(root):
        left = records.describe_left(root)
        raise UsageError(
            f"run {before.run_id} is still running{f': {left}' if left else ''}.",
            f"`gpuops logs {before.run_id} -f` follows it, `gpuops stop {before.run_id}` ends it.",
        )
    supervisor = supervisor_lock.holder(root)
    if supervisor is not None and supervisor.pid != os.getpid():
        stopped = describe_stopped(supervisor.pid) if supervisor.stopped else ""
        raise UsageError(
            f"run {before.run_id} is {stopped or 'between two attempts, and has a supervisor'}.",
            f"`gpuops attach {before.run_id}` shows it, `gpuops stop {before.run_id}` ends it.",
        )


def _resume_flag(manifest: Manifest | None) -> str:
    return flag(manifest.resume_setting if manifest else "resume")


def _run_to_resume(options: LaunchOptions, runs: Path) -> Path | None:
    """The run that ``--resume`` names; ``None`` if it names a checkpoint, or is not given."""
    if options.resume is None or options.resume in {"auto", "none"}:  # the trainer's own words
        return None
    given = Path(options.resume)
    if files.is_file(given / paths.PLAN):
        return given.absolute()
    if files.exists(given):
        ownership.require_trusted_checkpoint(given.absolute())
        return None
    holder = records.holder(options.resume)
    if holder is not None:  # a checkpoint by a name that only the trainer knows: last_model.pth
        ownership.require_trusted(holder, RESUME)
        ownership.require_trusted_checkpoints(holder)
        return None
    return records.find(runs, options.resume, RESUME)


def _own_flags(options: LaunchOptions, manifest: Manifest | None) -> tuple[str, ...]:
    """``--data`` and ``--config``, which we parse for the training program.

    A resumed run may work in another folder than this one, so it gets absolute paths.
    """
    data = manifest.data.setting if manifest and manifest.data else "data"
    pairs = [(data, options.data)] if options.data is not None else []
    pairs += [(manifest.config_setting if manifest else "config", name) for name in options.configs]
    if options.resume is not None:
        pairs = [(flag, _absolute_if_there(value)) for flag, value in pairs]
    return tuple(word for flag, value in pairs for word in (f"--{flag}", value))


def _absolute_if_there(value: str) -> str:
    return str(Path(value).absolute()) if files.exists(Path(value)) else value


def _interpreter(given: str) -> str:
    found = Path(given).expanduser().absolute() if os.sep in given else shutil.which(given)
    return str(found or given)


def _lasting(profile: str | None) -> str | None:
    """A profile under a name that also counts in another folder."""
    return _absolute_if_there(profile) if profile and Path(profile).suffix else profile
