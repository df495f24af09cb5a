"""From what was asked for, and what the host has, to a plan."""

from __future__ import annotations

from dataclasses import fields, replace

from gpuops.core.launch.choice import Choice, Wish, wish_of
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan, LaunchRequest, NodePlan
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import DeviceRef
from gpuops.core.machine.targets import Targets
from gpuops.errors import UsageError


def plan(
    profile: Profile,
    choice: Choice | None,
    request: LaunchRequest,
    port: int | None = None,
    host: str = "localhost",
) -> LaunchPlan:
    """Put a launch together: the GPUs chosen (``None`` on a CPU host), port and arguments.

    ``port`` is a free one, which counts if no port was asked for.
    """
    options = request.options
    devices = choice.devices if choice is not None else ()
    wanted = choice.wanted if choice is not None else 0
    wanted = wanted or options.nproc_per_node or profile.nproc_per_node
    ranks = (len(devices) if options.shrink else 0) or wanted
    # The profile's wishes for a trainer, and the settings that gpuops decides for the run.
    wishes = profile.trainers.get(request.target.name, {})
    defaults = {**wishes, **request.defaults} if request.target.kind == "trainer" else {}
    asked = {one.name: getattr(request, one.name) for one in fields(LaunchRequest)}
    refs = tuple(DeviceRef(index=d.index, uuid=d.uuid, bus_id=d.bus_id) for d in devices)
    restarts = options.max_restarts
    return LaunchPlan(
        **{**asked, "defaults": defaults},
        profile=options.profile or profile.name,
        device=profile.device,
        nodes=(NodePlan(host=host, devices=refs, ranks=tuple(range(ranks))),),
        ranks_wanted=wanted,
        master_port=options.master_port or port or profile.torchrun.master_port,
        hang_timeout_s=options.hang_timeout_s or profile.hang.timeout_s,
        observe=options.observe or profile.hang.observe,
        max_restarts=profile.restart.max_restarts if restarts is None else restarts,
        profile_environment=dict(profile.environment),
        stop_save_s=options.stop_grace_s or profile.stop.save_s,
        stop_terminate_s=profile.stop.terminate_s,
        targets=Targets(**profile.targets.model_dump()),
    )


def wish(profile: Profile, options: LaunchOptions) -> Wish | None:
    """The GPUs that a launch wants; ``None`` on a CPU host.

    Raises:
        UsageError: GPUs are named for a job that runs on none.
    """
    if profile.gpus is None:
        if options.gpus:
            raise UsageError(
                f"--gpu names GPUs, and profile {profile.name} runs on the CPU.",
                "Leave one of the two out.",
            )
        return None
    return replace(
        wish_of(profile.gpus, count=options.nproc_per_node, only=options.gpus),
        exclude=options.exclude_gpus,
        hot_c=profile.limits.temperature_c,
        prefer=options.prefer_gpus,
        share="gpus" in options.force,
    )
