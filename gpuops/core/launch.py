"""From what was asked for, and what the box has, to a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuops.core.device import Device, select
from gpuops.core.plan import LaunchPlan, Setting, Target
from gpuops.core.profile import Profile
from gpuops.errors import GpuopsError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What somebody asked for.

    ``arguments`` go to the training program as they are; ``defaults`` are settings weaker than
    anything that the user wrote; ``resume_arguments`` make this attempt go on from a checkpoint.
    """

    target: Target
    run_id: str
    run_dir: str
    python: str
    import_path: str | None = None
    attempt: int = 1
    nproc_per_node: int | None = None
    master_port: int | None = None
    exclude_gpus: tuple[str, ...] = ()
    profile: str | None = None
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    resume_arguments: tuple[str, ...] = ()
    working_dir: str = "."


def plan(profile: Profile, devices: Sequence[Device], request: LaunchRequest) -> LaunchPlan:
    """Decide which cards, ports and arguments a job gets.

    Raises:
        GpuopsError: the box has not enough cards.
        UsageError: a selector matches nothing.
    """
    chosen = choose_gpus(profile, devices, request) if profile.device == "cuda" else ()
    nproc_per_node = len(chosen) or request.nproc_per_node or profile.nproc_per_node
    return LaunchPlan(
        run_id=request.run_id,
        run_dir=request.run_dir,
        attempt=request.attempt,
        target=request.target,
        profile=request.profile or profile.name,
        device=profile.device,
        nproc_per_node=nproc_per_node,
        gpu_indices=tuple(device.index for device in chosen),
        gpu_uuids=tuple(device.uuid for device in chosen if device.uuid is not None),
        master_port=request.master_port or profile.torchrun.master_port,
        exclude_gpus=request.exclude_gpus,
        python=request.python,
        import_path=request.import_path,
        working_dir=request.working_dir,
        defaults=_defaults(profile, request),
        arguments=request.arguments,
        resume_arguments=request.resume_arguments,
        profile_environment=dict(profile.environment),
        stop_save_s=profile.stop.save_s,
        stop_terminate_s=profile.stop.terminate_s,
    )


def choose_gpus(
    profile: Profile, devices: Sequence[Device], request: LaunchRequest
) -> tuple[Device, ...]:
    """The cards of this box that the job takes: usable, of the right model, free ones first.

    Raises:
        GpuopsError: there are not enough of them.
        UsageError: an exclusion matches no card.
    """
    if profile.gpus is None:
        return ()
    wanted = request.nproc_per_node or profile.gpus.count
    excluded = _excluded(profile, tuple(devices), request.exclude_gpus)
    usable = [
        device
        for device in devices
        if device.index not in excluded
        and device.fault is None
        and (profile.gpus.model is None or _is_model(device.name or "", profile.gpus.model))
    ]
    free_first = sorted(usable, key=lambda device: (device.busy is not False, device.index))
    if len(free_first) < wanted:
        raise GpuopsError(
            f"profile {profile.name} wants {wanted} GPU(s)"
            f"{f' of model {profile.gpus.model}' if profile.gpus.model else ''}, "
            f"this machine has {len(usable)} usable"
            f"{f' besides the excluded {_indices(excluded)}' if excluded else ''}.",
            "Choose a smaller profile (`gpuops profiles list`), or `--nproc-per-node N`; "
            "`--profile cpu` runs without any GPU.",
        )
    return tuple(sorted(free_first[:wanted], key=lambda device: device.index))


def _is_model(name: str, model: str) -> bool:
    """Whether a card is of a model: whole words, for an H200 is no H20."""
    return re.search(rf"(?<!\w){re.escape(model)}(?!\w)", name, re.IGNORECASE) is not None


def _excluded(
    profile: Profile, devices: tuple[Device, ...], selectors: Sequence[str]
) -> frozenset[int]:
    excluded: set[int] = set()
    for selector in selectors:
        matches = select(devices, selector)
        if devices and not matches:
            there = ", ".join(str(device.index) for device in devices)
            raise UsageError(
                f"--exclude-gpu {selector} matches no GPU of this machine.",
                f"There are the GPUs {there}; `nvidia-smi -L` lists their UUIDs.",
            )
        excluded.update(device.index for device in matches)
    for preference in profile.gpus.exclude if profile.gpus else ():
        excluded.update(device.index for device in select(devices, str(preference)))
    return frozenset(excluded)


def _indices(indices: frozenset[int]) -> str:
    return ", ".join(str(index) for index in sorted(indices))


def _defaults(profile: Profile, request: LaunchRequest) -> dict[str, Setting]:
    """What the profile wishes for a trainer, and what gpuops itself decides for the run."""
    if request.target.kind != "trainer":
        return {}
    return {**profile.trainers.get(request.target.name, {}), **request.defaults}
