"""From an order to a plan, and what preflight found of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpuops import __version__
from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Choice, Wish, choose
from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.plan_launch import LaunchRequest, plan, wish
from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.launch.queue import Ticket, awaited
from gpuops.core.machine import environment
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.environment import Environment
from gpuops.core.preflight.preflight import preflight, stopping
from gpuops.core.preflight.requirements import Requirements
from gpuops.core.units import GIB
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.launch.inventory import others_claims, read_gpus
from gpuops.launch.launch import Launch, resolve_settings
from gpuops.launch.request import LaunchOptions, flag, request
from gpuops.system import leases, profiles
from gpuops.system.host import host, interpreters
from gpuops.system.runs import checkpoints
from gpuops.system.trainers import check, settings

WHAT_IS_FREE = "what-is-free"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A launch, the GPUs chosen for it, and what was found on the machine."""

    launch: Launch
    profile: Profile
    choice: Choice | None
    inventory: GpuInventory
    findings: tuple[Finding, ...]
    environment: Environment

    @property
    def short(self) -> bool:
        """Whether there are too few GPUs for the plan: it can be looked at, and not be run."""
        return self.choice is not None and self.choice.short > 0 and not self.shrunk

    @property
    def shrunk(self) -> bool:
        """Whether it runs on fewer GPUs than were wanted."""
        return 0 < self.launch.plan.nproc_per_node < self.launch.plan.ranks_wanted


def prepare(options: LaunchOptions, ticket: Ticket | None = None) -> Prepared:
    """Look at the machine and decide what would be run; ``ticket`` is our place in the line.

    Raises:
        GpuopsError: what was asked for does not exist, or does not fit the machine.
    """
    manifest, asked = request(options)
    inventory = read_gpus(options.simulate, own=asked.run_dir)
    profile, choice = _choose(options, asked, inventory, ticket)
    usual, claimed = profile.torchrun.master_port, _claimed_ports(asked.run_dir)
    launch = plan(profile, choice, asked, host.next_free_port(usual - 1, claimed))
    interpreter = interpreters.read(launch.python)
    can_ask = manifest is not None and interpreter.torch is not None
    try:
        resolved = resolve_settings(launch, manifest) if can_ask else {}
    except UsageError:
        if manifest is not None:  # the profile's mistake is not to be blamed on who typed
            settings.insist_on_wishes(
                launch.profile, profile, manifest, launch.python, launch.working_dir
            )
        raise
    keeps_batch = manifest is not None and _is_fixed(manifest, resolved)
    short = choice is not None and choice.short > 0
    if options.batch_divisor > 1 or (short and not keeps_batch):
        fitted = _fitted(launch, manifest, resolved, options.batch_divisor)
        keeps_batch = fitted is not None
        if fitted is not None and (options.shrink or not short):
            launch, resolved = fitted
    ready = Launch(plan=launch, manifest=manifest, settings=resolved)
    needs = replace(_requirements(ready, profile, choice, options), keeps_batch=keeps_batch)
    snapshot = host.snapshot(
        needs,
        interpreter=interpreter,
        layout=manifest.data if manifest else None,
        inventory=inventory,
        trainer_findings=_its_own(launch, manifest, resolved),
        # A port that we chose ourselves is claimed next, or another one chosen.
        claimed_ports=claimed if launch.port_asked else claimed - {launch.master_port},
    )
    findings = preflight(snapshot, profile, needs)
    return Prepared(
        launch=ready,
        profile=profile,
        choice=choice,
        inventory=inventory,
        findings=tuple(findings),
        environment=environment.describe_environment(snapshot, launch.gpu_indices, __version__),
    )


def chosen(
    options: LaunchOptions, inventory: GpuInventory, ticket: Ticket | None = None
) -> Choice | None:
    """The GPUs that a launch would take of a host, and nothing else: what a wait asks for."""
    _, asked = request(options)
    return _choose(options, asked, inventory, ticket)[1]


def insist(findings: Sequence[Finding], force: Sequence[str]) -> None:
    """Stop at the errors that nobody overruled by name.

    ``--force gpus`` shares GPUs in use; those that are not there it cannot bring.

    Raises:
        GpuopsError: there are such errors.
        UsageError: a name overrules nothing.
    """
    left = stopping(findings, force)
    if left:
        count = "an error" if len(left) == 1 else f"{len(left)} errors"
        forced = " ".join(f"--force {found.check}" for found in left)
        forcible = all(found.forcible for found in left)
        way = f", or launch in spite of it with `{forced}`" if forcible else ""
        raise GpuopsError(
            f"preflight found {count}, nothing was started: "
            f"{', '.join(found.check for found in left)}.",
            f"Mend what it says above{way}.",
        )


def misspelled(arguments: Sequence[str], options: Sequence[str]) -> list[tuple[str, str]]:
    """Flags handed to a script that look like a gpuops option typed wrongly."""
    flags = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    found = [(flag, difflib.get_close_matches(flag, options, n=1, cutoff=0.8)) for flag in flags]
    return [(flag, near[0]) for flag, near in found if near]


def _choose(
    options: LaunchOptions, asked: LaunchRequest, inventory: GpuInventory, ticket: Ticket | None
) -> tuple[Profile, Choice | None]:
    name = options.profile or asked.profile
    kept = (
        awaited(leases.line(), ticket)
        if inventory.devices and options.simulate is None
        else frozenset()
    )
    profile = (
        _what_is_free(inventory, kept) if name in {None, WHAT_IS_FREE} else profiles.load(name)
    )
    if profile.device == "cuda" and "gpus" in inventory.gaps:
        raise MachineError(
            f"profile {profile.name} wants GPUs, but {inventory.gaps['gpus'].rstrip('.')}.",
            "Check that `nvidia-smi` works; `--profile cpu` runs without a GPU, "
            "`--simulate 8x4090` plans for a machine that is not here.",
        )
    wanted = wish(profile, asked)
    return profile, choose(wanted, inventory.devices, awaited=kept) if wanted is not None else None


def _what_is_free(inventory: GpuInventory, kept: frozenset[str]) -> Profile:
    """No profile was asked for: every free GPU, or the CPU profile where there is none at all."""
    if (
        "gpus" in inventory.gaps and not inventory.absent
    ):  # not a laptop: a job must not slip onto the CPU
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


def _claimed_ports(own: str) -> frozenset[int]:
    """The ports that other launches have, or are about to have."""
    numbers = [name.partition(leases.port(0)[:-1])[2] for name in others_claims(own)]
    return frozenset(int(number) for number in numbers if number.isdecimal())


def _is_fixed(manifest: Manifest, resolved: Mapping[str, Any]) -> bool:
    """Whether the settings fix the samples of a step, on however many ranks."""
    return manifest.batch is not None and resolved.get(manifest.batch.total) is not None


def _fitted(
    launch: LaunchPlan, manifest: Manifest | None, resolved: Mapping[str, Any], divisor: int
) -> tuple[LaunchPlan, Mapping[str, Any]] | None:
    """The plan whose steps see what they would have seen, in more or smaller passes.

    ``None`` where that cannot be had.
    """
    batch = manifest.batch if manifest else None
    if batch is None:
        return None
    size, passes = resolved.get(batch.size), resolved.get(batch.accumulate, 1)
    if not isinstance(size, int) or not isinstance(passes, int):
        return None
    fixed = {batch.size: max(1, size // divisor)} if divisor > 1 else {}
    if resolved.get(batch.total) is None:
        total = size * passes * launch.ranks_wanted
        fixed |= {batch.accumulate: 1, batch.total: total}
    words = tuple(word for name, value in fixed.items() for word in (flag(name), str(value)))
    fitted = replace(launch, fit_arguments=words)
    try:
        return fitted, resolve_settings(fitted, manifest)
    except UsageError:  # other settings make batches of which nobody knows the samples
        return None


def _its_own(
    launch: LaunchPlan, manifest: Manifest | None, resolved: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """What the trainer's own check finds, where it has one and something to look at."""
    if manifest is None or manifest.check is None or not manifest.worth_checking(resolved):
        return ()
    return check.check(launch.python, manifest.check, launch.program_arguments, launch.working_dir)


def _requirements(
    ready: Launch, profile: Profile, choice: Choice | None, options: LaunchOptions
) -> Requirements:
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
    out_dir = Path(launch.run_dir).parent if options.anything else ready.places.out_dir
    return Requirements(
        workers=launch.nproc_per_node,
        loader_workers=int(ready.settings.get("num_workers") or 0),
        master_port=launch.master_port,
        output_dir=_from_here(out_dir),
        memory_per_worker_bytes=int(memory * GIB),
        disk_bytes=int((manifest.disk_gib if manifest else 0.1) * GIB),
        data_root=data_root,
        data_splits=splits,
        data_built_in=built_in,
        usual_port=None if launch.port_asked else profile.torchrun.master_port,
        choice=choice,
        shrink=options.shrink,
        wait=options.wait_s is not None,
        resume=(launch.run_id if launch.attempt > 1 else options.resume),
        resume_checkpoint=_checkpoint(ready, options),
    )


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _checkpoint(ready: Launch, options: LaunchOptions) -> str | None:
    """What a trainer will go on from, as far as names tell; it validates them itself."""
    if options.resume is None:
        return None
    if ready.manifest is None:
        return "where the script itself goes on"
    if ready.plan.attempt == 1:
        return options.resume
    kept = checkpoints.list_checkpoints(ready.places.checkpoints)
    return kept[-1][0] if kept else None
