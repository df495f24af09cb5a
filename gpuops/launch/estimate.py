"""Whether a training run fits: what its trainer says, beside the GPU that is planned for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gpuops.core.launch import memory
from gpuops.core.launch.choice import choose, wish_of
from gpuops.core.launch.memory import Beside, Estimate, Fit, Gpu
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.machine.device import Device
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.launch.inventory import read_gpus
from gpuops.launch.launch import name_the_wish
from gpuops.launch.request import request
from gpuops.system import profiles
from gpuops.system.trainers import settings

TIMEOUT_S = 180.0
ANY = Profile(name="any", gpus=Gpus(count=1))  # it wishes nothing for any trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A trainer's estimate, the GPU it is compared with, and whether it fits.

    ``note`` says how a simulated host differs from the one that the profile is for.
    """

    estimate: Estimate
    gpu: Gpu | None
    beside: Beside
    fit: Fit
    note: str


def estimate(options: LaunchOptions) -> Assessment:
    """Ask the trainer what a step needs, and compare it with the profile's GPU or those here.

    Raises:
        GpuopsError: what is asked for is not a trainer that answers.
        UsageError: the trainer refuses a flag or a wish of the profile.
    """
    manifest, asked = request(options)
    if manifest is None:
        raise UsageError(
            f"{asked.target.entry} is a {asked.target.kind}: only trainers compute their memory.",
            "`gpuops trainers list` shows the trainers.",
        )
    if (module := manifest.answers.estimate) is None:
        raise UsageError(
            f"trainer {manifest.name} cannot compute its memory: it has no `answers.estimate`.",
            "docs/estimate.md describes what such a module prints.",
        )
    profile = profiles.load(options.profile) if options.profile else None
    known = profile and (profile.gpus is None or profile.gpus.memory_gib is not None)
    simulate = options.simulate
    devices = () if known and simulate is None else _gpus_here(simulate)
    on_gpu = profile is None or profile.device == "cuda"
    gpu = memory.gpu(profile, devices)
    ranks = memory.ranks(profile, devices, options.nproc_per_node)
    beside = memory.beside(on_gpu=on_gpu, ranks=ranks)
    question = ["--ranks", str(ranks), "--device", "cuda" if on_gpu else "cpu"]
    if gpu is not None:
        question += ["--room-bytes", str(memory.room_bytes(gpu, beside))]
    # With the profile as it was typed, which an error names.
    planned = plan(profile or ANY, None, replace(asked, options=options))
    words = (*question, *planned.program_arguments)
    with name_the_wish(planned, profile or ANY, manifest):
        answer = settings.ask(
            asked.python, module, words, asked.working_dir, what="its memory", timeout_s=TIMEOUT_S
        )
    if answer is None:
        raise GpuopsError(f"{asked.python} cannot be run.", "Give another --python.")
    found = memory.parse(answer, module)
    return Assessment(
        estimate=found,
        gpu=gpu,
        beside=beside,
        fit=memory.assess_fit(found, gpu, beside),
        note=_difference(profile, devices, simulate) if profile and simulate else "",
    )


def _gpus_here(simulate: str | None) -> tuple[Device, ...]:
    """The GPUs to plan for: those that are ours, or all if none is."""
    inventory = read_gpus(simulate)
    if "gpus" in inventory.gaps and not inventory.absent:
        raise MachineError(
            f"the GPUs of this machine cannot be read: {inventory.gaps['gpus'].rstrip('.')}.",
            "`--simulate 8x4090` plans for other GPUs, `--profile cpu` for the CPU.",
        )
    ours = tuple(device for device in inventory.devices if device.withheld_by is None)
    return ours or inventory.devices


def _difference(profile: Profile, devices: Sequence[Device], simulate: str) -> str:
    if profile.gpus is None:
        return f"profile {profile.name} runs on the CPU: {simulate} changes nothing."
    choice = choose(wish_of(profile.gpus), devices)
    if not choice.short:
        return ""
    return (
        f"{simulate} has {len(choice.devices)} of the {choice.wanted} GPUs that profile "
        f"{profile.name} wants; the estimate is for the profile's."
    )
