"""From the words on a command line to the launch that they ask for."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.plan import Target
from gpuops.core.launch.plan_launch import LaunchRequest
from gpuops.core.run import paths
from gpuops.errors import UsageError
from gpuops.system import files
from gpuops.system.runs import plan_file, records, run_dir, supervisor_lock
from gpuops.system.trainers import manifests, modules


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What somebody typed."""

    name: str | None = None
    module: str | None = None
    anything: bool = False  # preflight of the machine alone, whatever will run on it
    profile: str | None = None
    simulate: str | None = None
    gpus: tuple[str, ...] = ()
    exclude_gpus: tuple[str, ...] = ()
    prefer_gpus: tuple[str, ...] = ()  # UUIDs of those that the run has already
    nproc_per_node: int | None = None
    master_port: int | None = None
    python: str | None = None
    runs_dir: Path | None = None
    data: str | None = None
    configs: tuple[str, ...] = ()
    resume: str | None = None
    arguments: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    shrink: bool = False
    hang_timeout_s: float | None = None
    observe: bool = False
    max_restarts: int | None = None
    on_hang: str | None = None
    on_exit: str | None = None
    batch_divisor: int = 1  # passes of so many parts of the batch: GPUs ran out of memory
    wait_s: float | None = None  # math.inf: for ever


def request(options: LaunchOptions) -> tuple[Manifest | None, LaunchRequest]:
    """What an order means: the launch to plan, and the trainer's manifest where there is one.

    Raises:
        GpuopsError: what it names does not exist.
        UsageError: it means nothing.
    """
    runs = run_dir.runs_dir(options.runs_dir)
    again = _run_to_resume(options, runs)
    if again is not None:
        return _next_attempt(options, again)
    python = _interpreter(options.python or sys.executable)
    if options.anything:
        target, manifest = Target(kind="script", name="any", entry="train.py"), None
    else:
        target, manifest = manifests.target(options.name, options.module)
    run_id = run_dir.new_run_id(runs, target.name, time.time())
    launch = LaunchRequest(
        target=target,
        run_id=run_id,
        run_dir=str(runs / run_id),
        python=python,
        import_path=modules.import_path(python),
        nproc_per_node=options.nproc_per_node,
        master_port=options.master_port,
        gpus=options.gpus,
        exclude_gpus=options.exclude_gpus,
        shrink=options.shrink,
        force=options.force,
        hang_timeout_s=options.hang_timeout_s,
        observe=options.observe,
        max_restarts=options.max_restarts,
        on_hang=options.on_hang,
        on_exit=options.on_exit,
        profile=_lasting(options.profile),
        defaults={manifest.out_dir_setting: str(runs / run_id)} if manifest else {},
        arguments=(*_own_flags(options, manifest), *options.arguments),
        resume_arguments=() if options.resume is None else (_resume_flag(manifest), options.resume),
        working_dir=str(Path.cwd()),
    )
    return manifest, launch


def _next_attempt(options: LaunchOptions, root: Path) -> tuple[Manifest | None, LaunchRequest]:
    """The same run again, from its newest checkpoint; what is typed now is added."""
    before = plan_file.load(root)
    target = before.target
    if options.name not in {None, target.name, target.entry}:
        raise UsageError(
            f"run {before.run_id} is of {target.name}, not of {options.name}.",
            f"`gpuops launch {target.name} --resume {before.run_id}`.",
        )
    attempts = records.attempts(root)
    if attempts and attempts[-1].alive:
        raise UsageError(
            f"run {before.run_id} is still running.",
            f"`gpuops logs {before.run_id} -f` follows it.",
        )
    if (keeper := supervisor_lock.of(root)) is not None and keeper.pid != os.getpid():
        raise UsageError(
            f"run {before.run_id} is between two attempts, and has a supervisor.",
            f"`gpuops attach {before.run_id}` shows it, `gpuops stop {before.run_id}` ends it.",
        )
    manifest = manifests.load(target.name) if target.kind == "trainer" else None
    own = {manifest.out_dir_setting} if manifest else set()
    python = _interpreter(options.python) if options.python else before.python
    # Who names GPUs now has looked now: what was typed then is another host's story.
    named = bool(options.gpus or options.exclude_gpus)
    anew = bool(options.profile or options.gpus)
    launch = LaunchRequest(
        target=target,
        run_id=before.run_id,
        run_dir=str(root),
        python=python,
        import_path=modules.import_path(python),
        attempt=records.next_attempt(root),
        # As many as it was begun with: what it was shrunk to was one evening's need.
        nproc_per_node=options.nproc_per_node
        or (None if anew else before.ranks_wanted or before.nproc_per_node),
        master_port=options.master_port or before.port_asked,
        gpus=options.gpus if named else before.gpus,
        exclude_gpus=options.exclude_gpus if named else before.exclude_gpus,
        shrink=options.shrink,
        prefer_gpus=options.prefer_gpus,
        force=options.force,
        hang_timeout_s=options.hang_timeout_s or before.hang_timeout_s,
        observe=options.observe or before.observe,
        max_restarts=before.max_restarts if options.max_restarts is None else options.max_restarts,
        on_hang=options.on_hang or before.on_hang,
        on_exit=options.on_exit or before.on_exit,
        profile=_lasting(options.profile) or before.profile,
        defaults={key: value for key, value in before.defaults.items() if key in own},
        arguments=(*before.arguments, *_own_flags(options, manifest), *options.arguments),
        # How a script goes on is its own matter: it is started again as it was.
        resume_arguments=(_resume_flag(manifest), "auto") if manifest else (),
        working_dir=before.working_dir,
    )
    return manifest, launch


def _resume_flag(manifest: Manifest | None) -> str:
    return flag(manifest.resume_setting if manifest else "resume")


def flag(setting: str) -> str:
    """How a setting is spelled on a command line."""
    return "--" + setting.replace("_", "-")


def _run_to_resume(options: LaunchOptions, runs: Path) -> Path | None:
    """The run that ``--resume`` names; ``None`` where it names a checkpoint, or is not given."""
    if options.resume is None or options.resume in {"auto", "none"}:  # the trainer's own words
        return None
    given = Path(options.resume)
    if files.is_file(given / paths.PLAN):
        return given.absolute()
    if files.exists(given):
        return None
    return records.find(runs, options.resume)


def _own_flags(options: LaunchOptions, manifest: Manifest | None) -> tuple[str, ...]:
    """``--data`` and ``--config`` belong to the training program, whoever parses them first.

    On a resumed run they are named from here, and it works elsewhere: so the whole path.
    """
    data = manifest.data.setting if manifest and manifest.data else "data"
    pairs = [(data, options.data)] if options.data is not None else []
    pairs += [(manifest.config_setting if manifest else "config", name) for name in options.configs]
    if options.resume is not None:
        pairs = [(flag, _whole(value)) for flag, value in pairs]
    return tuple(word for flag, value in pairs for word in (f"--{flag}", value))


def _whole(value: str) -> str:
    return str(Path(value).absolute()) if files.exists(Path(value)) else value


def _interpreter(given: str) -> str:
    path = Path(given).expanduser().absolute() if os.sep in given else shutil.which(given) or given
    return str(path)


def _lasting(profile: str | None) -> str | None:
    """A profile as it will still be found from another folder."""
    return str(Path(profile).absolute()) if profile and Path(profile).suffix else profile
