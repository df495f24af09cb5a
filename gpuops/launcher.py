"""From the words on a command line to a plan and what preflight found of it."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpuops.core.device import Device
from gpuops.core.finding import Finding
from gpuops.core.launch import LaunchRequest, plan
from gpuops.core.node import Requirements
from gpuops.core.plan import LaunchPlan, Target
from gpuops.core.preflight import GIB, preflight
from gpuops.core.profile import Gpus, Profile
from gpuops.core.trainer import Manifest
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.system import (
    files,
    host,
    modules,
    nvml,
    plan_file,
    profiles,
    run_dir,
    settings,
    trainers,
)

WHAT_IS_FREE = "what-is-free"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody typed."""

    name: str | None = None
    module: str | None = None
    anything: bool = False  # preflight of the machine alone, whatever will run on it
    profile: str | None = None
    exclude_gpus: tuple[str, ...] = ()
    nproc_per_node: int | None = None
    master_port: int | None = None
    python: str | None = None
    runs_dir: Path | None = None
    data: str | None = None
    configs: tuple[str, ...] = ()
    resume: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan, what was found on the machine, and what the trainer makes of its settings."""

    plan: LaunchPlan
    profile: Profile
    findings: tuple[Finding, ...]
    manifest: Manifest | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def out_dir(self) -> Path:
        """Where the trainer writes."""
        name = self.manifest.out_dir_setting if self.manifest else ""
        given = self.settings.get(name)
        return Path(self.plan.working_dir, given) if given else Path(self.plan.run_dir)

    @property
    def metrics_file(self) -> Path | None:
        """Where the trainer logs its figures."""
        return self.out_dir / self.manifest.metrics_file if self.manifest else None


def prepare(order: Order) -> Prepared:
    """Look at the machine and decide what would be run.

    Raises:
        GpuopsError: what was asked for does not exist, or does not fit the machine.
    """
    manifest, request = _request(order)
    devices, gaps = _devices()
    profile = _profile(order.profile or request.profile, devices)
    if profile.device == "cuda" and "gpus" in gaps:
        raise MachineError(
            f"profile {profile.name} wants GPUs, but {gaps['gpus'].rstrip('.')}.",
            "Check that `nvidia-smi` works; `--profile cpu` runs without a GPU.",
        )
    launch = plan(profile, devices, request)
    resolved: Mapping[str, Any] = {}
    interpreter = host.interpreter(launch.python)
    if manifest is not None and interpreter.torch is not None:
        answer = settings.resolve(
            launch.python, manifest.config, launch.program_arguments, launch.working_dir
        )
        resolved = answer or {}
    ready = Prepared(
        plan=launch, profile=profile, findings=(), manifest=manifest, settings=resolved
    )
    needs = _requirements(ready, order)
    node = host.snapshot(
        needs,
        interpreter=interpreter,
        layout=manifest.data if manifest else None,
        devices=devices,
        gaps=gaps,
    )
    findings = preflight(node, profile, needs)
    return replace(ready, findings=tuple(findings))


def insist(findings: Sequence[Finding], force: Sequence[str]) -> None:
    """Stop at the errors that nobody overruled by name.

    Raises:
        GpuopsError: there are such errors.
        UsageError: a name overrules nothing.
    """
    checks = [found.check for found in findings]
    for name in force:
        if name not in checks:
            near = difflib.get_close_matches(name, checks, n=1)
            raise UsageError(
                f"--force {name} names no check{f'; did you mean {near[0]}?' if near else '.'}",
                f"The checks: {', '.join(checks)}.",
            )
    left = [found.check for found in findings if found.severity == "error"]
    left = [check for check in left if check not in force]
    if left:
        count = "an error" if len(left) == 1 else f"{len(left)} errors"
        raise GpuopsError(
            f"preflight found {count}, nothing was started: {', '.join(left)}.",
            f"Mend what it says above, or launch in spite of it with `--force {left[0]}`.",
        )


def misspelled(arguments: Sequence[str], options: Sequence[str]) -> list[tuple[str, str]]:
    """Flags handed to a script that look like a gpuops option typed wrongly."""
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    found = [(flag, difflib.get_close_matches(flag, options, n=1, cutoff=0.8)) for flag in flags]
    return [(flag, near[0]) for flag, near in found if near]


def _request(order: Order) -> tuple[Manifest | None, LaunchRequest]:
    runs = run_dir.runs_dir(order.runs_dir)
    again = _run_to_resume(order, runs)
    if again is not None:
        return _next_attempt(order, again)
    python = _interpreter(order.python or sys.executable)
    if order.anything:
        target, manifest = Target(kind="script", name="any", entry="train.py"), None
    else:
        target, manifest = trainers.target(order.name, order.module)
    run_id = run_dir.new_run_id(runs, target.name, time.time())
    request = LaunchRequest(
        target=target,
        run_id=run_id,
        run_dir=str(runs / run_id),
        python=python,
        import_path=modules.import_path(python),
        nproc_per_node=order.nproc_per_node,
        master_port=order.master_port,
        exclude_gpus=order.exclude_gpus,
        profile=_lasting(order.profile),
        defaults={manifest.out_dir_setting: str(runs / run_id)} if manifest else {},
        arguments=(*_own_flags(order, manifest), *order.arguments),
        resume_arguments=() if order.resume is None else (_resume_flag(manifest), order.resume),
        working_dir=str(Path.cwd()),
    )
    return manifest, request


def _next_attempt(order: Order, root: Path) -> tuple[Manifest | None, LaunchRequest]:
    """The same run again, from its newest checkpoint; what is typed now is added."""
    before = plan_file.load(root)
    target = before.target
    if order.name not in {None, target.name, target.entry}:
        raise UsageError(
            f"run {before.run_id} is of {target.name}, not of {order.name}.",
            f"`gpuops launch {target.name} --resume {before.run_id}`.",
        )
    lives = run_dir.attempts(root)
    if lives and lives[-1].alive:
        raise UsageError(
            f"run {before.run_id} is still running.",
            f"`gpuops logs {before.run_id} -f` follows it.",
        )
    manifest = trainers.load(target.name) if target.kind == "trainer" else None
    own = {manifest.out_dir_setting} if manifest else set()
    python = _interpreter(order.python) if order.python else before.python
    request = LaunchRequest(
        target=target,
        run_id=before.run_id,
        run_dir=str(root),
        python=python,
        import_path=modules.import_path(python),
        attempt=run_dir.next_attempt(root),
        nproc_per_node=order.nproc_per_node or (None if order.profile else before.nproc_per_node),
        master_port=order.master_port or (None if order.profile else before.master_port),
        exclude_gpus=order.exclude_gpus or before.exclude_gpus,
        profile=_lasting(order.profile) or before.profile,
        defaults={key: value for key, value in before.defaults.items() if key in own},
        arguments=(*before.arguments, *_own_flags(order, manifest), *order.arguments),
        # How a script goes on is its own matter: it is started again as it was.
        resume_arguments=(_resume_flag(manifest), "auto") if manifest else (),
        working_dir=before.working_dir,
    )
    return manifest, request


def _resume_flag(manifest: Manifest | None) -> str:
    return "--" + (manifest.resume_setting if manifest else "resume").replace("_", "-")


def _run_to_resume(order: Order, runs: Path) -> Path | None:
    """The run that ``--resume`` names; ``None`` where it names a checkpoint, or is not given."""
    if order.resume is None or order.resume in {"auto", "none"}:  # the trainer's own words
        return None
    given = Path(order.resume)
    if files.is_file(given / "plan.json"):
        return given.absolute()
    if files.exists(given):
        return None
    return run_dir.find(runs, order.resume)


def _own_flags(order: Order, manifest: Manifest | None) -> tuple[str, ...]:
    """``--data`` and ``--config`` belong to the training program, whoever parses them first.

    On a resumed run they are named from here, and it works elsewhere: so the whole path.
    """
    data = manifest.data.setting if manifest and manifest.data else "data"
    pairs = [(data, order.data)] if order.data is not None else []
    pairs += [(manifest.config_setting if manifest else "config", name) for name in order.configs]
    if order.resume is not None:
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


def _devices() -> tuple[tuple[Device, ...], dict[str, str]]:
    try:
        return nvml.devices(), {}
    except MachineError as error:
        return (), {"gpus": error.message}


def _profile(name: str | None, devices: tuple[Device, ...]) -> Profile:
    if name is None or name == WHAT_IS_FREE:
        return _what_is_free(devices)
    return profiles.load(name)


def _what_is_free(devices: tuple[Device, ...]) -> Profile:
    """No profile was asked for: every free card, or the CPU profile where there is none."""
    free = [device for device in devices if device.fault is None and device.busy is False]
    if devices and not free:
        raise GpuopsError(
            f"none of the {len(devices)} GPUs is free.",
            "`nvidia-smi` shows who holds them; a profile (`--profile NAME`) shares a card.",
        )
    if not free:
        return profiles.load("cpu")
    return Profile(name=WHAT_IS_FREE, gpus=Gpus(count=len(free)))


def _requirements(ready: Prepared, order: Order) -> Requirements:
    manifest, launch = ready.manifest, ready.plan
    data_root = built_in = None
    splits: tuple[str, ...] = ()
    if manifest is not None and manifest.data is not None:
        value = ready.settings.get(manifest.data.setting)
        splits = tuple(manifest.data.splits)
        if value in manifest.data.built_in:
            built_in = str(value)
        elif value:
            data_root = str(Path(launch.working_dir, str(value)))
    memory = manifest.memory_per_worker_gib if manifest else 0.5
    return Requirements(
        workers=launch.nproc_per_node,
        master_port=launch.master_port,
        output_dir=_from_here(Path(launch.run_dir).parent if order.anything else ready.out_dir),
        memory_per_worker_bytes=int(memory * GIB),
        disk_bytes=int((manifest.disk_gib if manifest else 0.1) * GIB),
        data_root=data_root,
        data_splits=splits,
        data_built_in=built_in,
        gpu_indices=launch.gpu_indices,
        resume=(launch.run_id if launch.attempt > 1 else order.resume),
        resume_checkpoint=_checkpoint(ready, order),
    )


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _checkpoint(ready: Prepared, order: Order) -> str | None:
    """What a trainer will go on from, as far as names tell; it validates them itself."""
    if order.resume is None:
        return None
    if ready.manifest is None:
        return "where the script itself goes on"
    if ready.plan.attempt == 1:
        return order.resume
    kept = run_dir.checkpoints(ready.out_dir / ready.manifest.checkpoints)
    return kept[-1][0] if kept else None
