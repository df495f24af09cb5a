"""From the options of a launch to its plan, and what preflight found."""

from __future__ import annotations

import difflib
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gpuops import __version__
from gpuops.core.finding import Finding
from gpuops.core.launch import torchrun
from gpuops.core.launch.choice import Choice, Wish, choose
from gpuops.core.launch.manifest import Batch, flag
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan, LaunchRequest
from gpuops.core.launch.plan_launch import plan, wish
from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.launch.queue import describe_first
from gpuops.core.machine import environment
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.environment import Environment
from gpuops.core.preflight.preflight import preflight, stopping
from gpuops.core.preflight.requirements import Requirements
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.launch.contention import BEGIN_S, Contention, ended_by_signal
from gpuops.launch.inventory import read_gpus
from gpuops.launch.launch import Launch, name_the_wish, resolve_settings
from gpuops.launch.request import request
from gpuops.system import claims, profiles
from gpuops.system.host import host, interpreters, shadows
from gpuops.system.runs import checkpoints
from gpuops.system.trainers import check, datasets
from gpuops.text import GIB

WHAT_IS_FREE = "what-is-free"
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The GPUs chosen for a launch, by which wish and out of what; no wish on a CPU host."""

    profile: Profile
    wish: Wish | None
    choice: Choice | None
    inventory: GpuInventory

    @property
    def short(self) -> bool:
        """Whether there are fewer GPUs than were wished for."""
        return self.choice is not None and self.choice.short > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A launch, the GPUs chosen for it, and what was found on the machine."""

    launch: Launch
    selection: Selection
    findings: tuple[Finding, ...]
    environment: Environment

    @property
    def short(self) -> bool:
        """Whether there are too few GPUs for the plan: it can be looked at, but not be run."""
        return self.selection.short and not self.shrunk

    @property
    def shrunk(self) -> bool:
        """Whether it runs on fewer GPUs than were wanted."""
        return 0 < self.launch.plan.world_size < self.launch.plan.ranks_wanted


def prepare(options: LaunchOptions, contention: Contention | None = None) -> Prepared:
    """Look at the machine and decide what would be run, by a launch that holds nothing yet or some.

    Raises:
        GpuopsError: what was asked for does not exist, or does not fit the machine.
        WaitEndedError: Ctrl-C, while others might begin on the GPUs that are free.
    """
    contention = contention or Contention()
    manifest, asked = request(options)
    chosen = options.profile or asked.options.profile  # as it was typed, which an error names
    selection = _select_gpus(asked, chosen, contention)
    if selection.short and contention.ticket is None and contention.first:
        contention.tell(describe_first(contention.first, BEGIN_S))
        with ended_by_signal():
            while selection.short and contention.first:
                time.sleep(POLL_S)
                selection = _select_gpus(asked, chosen, contention)
    claimed = _claimed_ports(contention)
    port = host.next_free_port(selection.profile.torchrun.master_port - 1, claimed)
    planned = plan(selection.profile, selection.choice, asked, port, socket.gethostname())
    interpreter = interpreters.read(planned.python)
    settings: Mapping[str, Any] = {}
    if manifest is not None and interpreter.torch:
        with name_the_wish(planned, selection.profile, manifest):
            settings = resolve_settings(planned, manifest)
    launch = Launch(plan=planned, manifest=manifest, settings=settings)
    launch, keeps_batch = _fit_batch(launch, short=selection.short)
    needs = replace(
        _requirements(launch, selection, keeps_batch=keeps_batch),
        import_folder=shadows.first_folder(planned, interpreter.python),
    )
    snapshot = host.snapshot(
        needs,
        interpreter=interpreter,
        inventory=selection.inventory,
        count=partial(
            datasets.count_data,
            manifest,
            python=planned.python,
            flags=planned.program_arguments,
            cwd=planned.working_dir,
        )
        if manifest
        else None,
        trainer_findings=_trainer_findings(launch),
        missing_module=_missing_module(planned),
        # A port that we chose ourselves is claimed next, or another one chosen.
        claimed_ports=claimed
        if options.master_port
        else {port: who for port, who in claimed.items() if port != planned.master_port},
    )
    gpus = [gpu.index for gpu in planned.devices]
    return Prepared(
        launch=launch,
        selection=selection,
        findings=tuple(preflight(snapshot, selection.profile, needs)),
        environment=environment.describe_environment(snapshot, gpus, __version__),
    )


def refuse_errors(findings: Sequence[Finding], force: Sequence[str]) -> None:
    """Stop at the errors that were not overridden by name.

    ``--force gpus`` shares GPUs that are in use; it cannot bring GPUs that are missing.

    Raises:
        GpuopsError: there are such errors.
        UsageError: a name overrides nothing.
    """
    left = stopping(findings, force)
    if left:
        count = "an error" if len(left) == 1 else f"{len(left)} errors"
        forced = " ".join(f"--force {found.check}" for found in left)
        forcible = all(found.forcible for found in left)
        way = f", or launch anyway with `{forced}`" if forcible else ""
        raise GpuopsError(
            f"preflight found {count}, nothing was started: "
            f"{', '.join(found.check for found in left)}.",
            f"Fix what is reported above{way}.",
        )


def misspelled(arguments: Sequence[str], options: Sequence[str]) -> list[tuple[str, str]]:
    """The flags handed to a script that look like misspelled options, each with that option."""
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    found = [(flag, difflib.get_close_matches(flag, options, n=1, cutoff=0.8)) for flag in flags]
    return [(flag, near[0]) for flag, near in found if near]


def _select_gpus(asked: LaunchRequest, chosen: str | None, contention: Contention) -> Selection:
    options = asked.options
    inventory = read_gpus(options.simulate, contention, options.allotted)
    real = inventory.devices and options.simulate is None
    kept = contention.awaited(contention.line(inventory.devices)) if real else frozenset[str]()
    profile = (
        _what_is_free(inventory, kept) if chosen in {None, WHAT_IS_FREE} else profiles.load(chosen)
    )
    if profile.device == "cuda" and "gpus" in inventory.gaps:
        raise MachineError(
            f"profile {profile.name} wants GPUs, but {inventory.gaps['gpus'].rstrip('.')}.",
            "Check that `nvidia-smi` works; `--profile cpu` runs without a GPU, "
            "`--simulate 8x4090` plans for a machine that is not here.",
        )
    wanted = wish(profile, options)
    return Selection(
        profile=profile,
        wish=wanted,
        choice=choose(wanted, inventory.devices, awaited=kept) if wanted is not None else None,
        inventory=inventory,
    )


def _what_is_free(inventory: GpuInventory, kept: frozenset[str]) -> Profile:
    """No profile was asked for: every free GPU, or the CPU profile if there are no GPUs."""
    # Not a laptop: a job must not slip onto the CPU.
    if "gpus" in inventory.gaps and not inventory.absent:
        raise MachineError(
            f"the GPUs of this machine cannot be used: {inventory.gaps['gpus'].rstrip('.')}.",
            "`--profile cpu` runs without a GPU.",
        )
    if not inventory.devices:
        return profiles.load("cpu")
    free = choose(Wish(count=len(inventory.devices)), inventory.devices, awaited=kept).devices
    models = [device.name for device in free]
    model = max(models, key=models.count, default=None)  # a job is as fast as its slowest GPU
    mixed = len(set(models)) > 1
    gpus = Gpus(count=max(1, models.count(model)), model=model if mixed else None)
    return Profile(name=WHAT_IS_FREE, gpus=gpus)


def _claimed_ports(contention: Contention) -> dict[int, str]:
    """The ports that other launches have, or are about to have, and who has each."""
    found = {name.rpartition("-")[2]: one for name, one in contention.others_claims().items()}
    numbers = [number for number in found if number.isdecimal() and claims.port(int(number))]
    return {int(number): str(found[number]).removeprefix("is ") for number in numbers}


def _fit_batch(launch: Launch, *, short: bool) -> tuple[Launch, bool]:
    """Keep the samples of a step if GPUs are missing, or if the batch must be cut.

    Returns the launch, and whether a step has as many samples as on all the GPUs wanted.
    """
    options, manifest = launch.plan.options, launch.manifest
    batch = manifest.batch if manifest else None
    fixed = batch is not None and launch.settings.get(batch.total) is not None
    if options.batch_divisor == 1 and (fixed or not short):
        return launch, fixed
    fitted = _with_global_batch(launch, batch, options.batch_divisor) if batch else None
    use = fitted is not None and (options.shrink or not short)
    return fitted if fitted is not None and use else launch, fitted is not None


def _with_global_batch(launch: Launch, batch: Batch, divisor: int) -> Launch | None:
    """The launch whose steps have the same samples, in more or smaller passes, if that can be."""
    size, passes = launch.settings.get(batch.size), launch.settings.get(batch.accumulate, 1)
    if not isinstance(size, int) or not isinstance(passes, int):
        return None
    fixed = {batch.size: max(1, size // divisor)} if divisor > 1 else {}
    if launch.settings.get(batch.total) is None:
        total = size * passes * launch.plan.ranks_wanted
        fixed |= {batch.accumulate: 1, batch.total: total}
    words = tuple(word for name, value in fixed.items() for word in (flag(name), str(value)))
    fitted = replace(launch.plan, fit_arguments=words)
    try:
        return replace(launch, plan=fitted, settings=resolve_settings(fitted, launch.manifest))
    except UsageError:  # other settings make batches whose number of samples is not known
        return None


def _trainer_findings(launch: Launch) -> tuple[Finding, ...]:
    """What the trainer's own check finds, if it has a check and there is something to look at."""
    manifest, plan_ = launch.manifest, launch.plan
    module = manifest.answers.check if manifest else None
    if manifest is None or module is None or not manifest.has_to_check(launch.settings):
        return ()
    return check.check(plan_.python, module, plan_.program_arguments, plan_.working_dir)


def _missing_module(plan: LaunchPlan) -> str | None:
    """What the interpreter does not find of the module to run."""
    if plan.target.kind != "module":
        return None
    added = torchrun.environment(plan)
    return interpreters.find_missing(plan.python, plan.target.entry, plan.working_dir, added)


def _requirements(launch: Launch, selection: Selection, *, keeps_batch: bool) -> Requirements:
    manifest, planned, options = launch.manifest, launch.plan, launch.plan.options
    data = manifest.data if manifest else None
    value = launch.settings.get(data.setting) if data else None
    built_in = str(value) if data and value in data.built_in else None
    memory_gib = manifest.memory_per_worker_gib if manifest else 0.5
    here = Path.cwd()
    out_dir = Path(planned.run_dir).parent if options.machine_only else launch.places.out_dir
    return Requirements(
        workers=planned.world_size,
        loader_workers=int(launch.settings.get("num_workers") or 0),
        master_port=planned.master_port,
        usual_port=None if options.master_port else selection.profile.torchrun.master_port,
        output_dir=str(out_dir.relative_to(here) if out_dir.is_relative_to(here) else out_dir),
        runs_dir=str(Path(planned.run_dir).parent),
        memory_per_worker_bytes=int(memory_gib * GIB),
        disk_bytes=int((manifest.disk_gib if manifest else 0.1) * GIB),
        choice=selection.choice,
        shrink=options.shrink,
        wait=options.wait_s is not None,
        keeps_batch=keeps_batch,
        data_root=str(Path(planned.working_dir, str(value))) if value and not built_in else None,
        data_splits=tuple(data.layout.splits) if data and data.layout else (),
        data_about=data.about if data else "",
        data_built_in=built_in,
        data_built_ins=tuple(data.built_in) if data else (),
        data_imports=bool(manifest and manifest.importers),
        resume=planned.run_id if planned.attempt > 1 else options.resume,
        resume_checkpoint=_checkpoint(launch),
    )


def _checkpoint(launch: Launch) -> str | None:
    """What a trainer will go on from, as far as names tell; it validates them itself."""
    if launch.plan.options.resume is None:
        return None
    if launch.manifest is None:
        return "what the script itself kept"
    if launch.plan.attempt == 1:
        return launch.plan.options.resume
    kept = checkpoints.list_checkpoints(launch.places.checkpoints)
    return kept[-1][0] if kept else None
