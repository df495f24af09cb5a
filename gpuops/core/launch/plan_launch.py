"""From what was asked for, and what the host has, to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gpuops.core.launch.choice import Choice, Wish, wish_of
from gpuops.core.launch.plan import LaunchPlan, Setting, Target
from gpuops.core.launch.profile import Profile
from gpuops.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What somebody asked for.

    ``arguments`` go to the training program as they are; ``defaults`` are settings weaker than
    anything that the user wrote; ``fit_arguments`` fit the batch to the GPUs there are;
    ``resume_arguments`` make this attempt go on from a checkpoint.
    """

    target: Target
    run_id: str
    run_dir: str
    python: str
    import_path: str | None = None
    attempt: int = 1
    nproc_per_node: int | None = None
    master_port: int | None = None
    gpus: tuple[str, ...] = ()
    exclude_gpus: tuple[str, ...] = ()
    hang_timeout_s: float | None = None
    observe: bool = False
    max_restarts: int | None = None
    on_hang: str | None = None
    on_exit: str | None = None
    force: tuple[str, ...] = ()
    shrink: bool = False
    prefer_gpus: tuple[str, ...] = ()
    profile: str | None = None
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    fit_arguments: tuple[str, ...] = ()
    resume_arguments: tuple[str, ...] = ()
    working_dir: str = "."


def plan(
    profile: Profile, choice: Choice | None, request: LaunchRequest, port: int | None = None
) -> LaunchPlan:
    """Put a launch together: the GPUs chosen (``None`` on a CPU host), port and arguments.

    ``port`` is the free one, where nobody asked for another.
    """
    devices = choice.devices if choice is not None else ()
    wanted = choice.wanted if choice is not None else 0
    wanted = wanted or request.nproc_per_node or profile.nproc_per_node
    return LaunchPlan(
        run_id=request.run_id,
        run_dir=request.run_dir,
        attempt=request.attempt,
        target=request.target,
        profile=request.profile or profile.name,
        device=profile.device,
        nproc_per_node=(len(devices) if request.shrink else 0) or wanted,
        ranks_wanted=wanted,
        gpu_indices=tuple(device.index for device in devices),
        gpu_uuids=tuple(device.uuid for device in devices if device.uuid is not None),
        gpu_bus_ids=tuple(device.bus_id for device in devices),
        master_port=request.master_port or port or profile.torchrun.master_port,
        hang_timeout_s=request.hang_timeout_s or profile.hang.timeout_s,
        observe=request.observe or profile.hang.observe,
        max_restarts=profile.restart.max_restarts
        if request.max_restarts is None
        else request.max_restarts,
        on_hang=request.on_hang,
        on_exit=request.on_exit,
        force=request.force,
        port_asked=request.master_port,
        gpus=request.gpus,
        exclude_gpus=request.exclude_gpus,
        python=request.python,
        import_path=request.import_path,
        working_dir=request.working_dir,
        defaults=_defaults(profile, request),
        arguments=request.arguments,
        fit_arguments=request.fit_arguments,
        resume_arguments=request.resume_arguments,
        profile_environment=dict(profile.environment),
        stop_save_s=profile.stop.save_s,
        stop_terminate_s=profile.stop.terminate_s,
    )


def wish(profile: Profile, request: LaunchRequest) -> Wish | None:
    """The GPUs that a launch wants; ``None`` on a CPU host.

    Raises:
        UsageError: GPUs are named for a job that runs on none.
    """
    if profile.gpus is None:
        if request.gpus:
            raise UsageError(
                f"--gpu names GPUs, and profile {profile.name} runs on the CPU.",
                "Leave one of the two out.",
            )
        return None
    return replace(
        wish_of(profile.gpus, count=request.nproc_per_node, only=request.gpus),
        exclude=request.exclude_gpus,
        hot_c=profile.limits.temperature_c,
        prefer=request.prefer_gpus,
        share="gpus" in request.force,
    )


def _defaults(profile: Profile, request: LaunchRequest) -> dict[str, Setting]:
    """What the profile wishes for a trainer, and what gpuops itself decides for the run."""
    if request.target.kind != "trainer":
        return {}
    return {**profile.trainers.get(request.target.name, {}), **request.defaults}
