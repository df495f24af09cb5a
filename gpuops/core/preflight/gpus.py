"""Whether the job gets the GPUs that it asks for."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.launch.choice import Choice, reasons
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import DENIED
from gpuops.core.machine.snapshot import HostSnapshot
from gpuops.core.preflight.requirements import Requirements


def check_gpus(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """The job needs enough usable GPUs that no other job uses."""
    choice, there = needs.choice, len(snapshot.inventory.devices)
    if profile.device == "cpu" or choice is None:
        return None
    if "gpus" in snapshot.inventory.gaps:
        summary = f"the GPUs cannot be read: {snapshot.inventory.gaps['gpus']}"
        hint = "Check that `nvidia-smi` works; `--profile cpu` runs without a GPU."
        return replace(error("gpus", summary, hint), forcible=False)
    finding = _chosen(choice, there, needs, profile)
    return replace(finding, measured=len(choice.devices), wanted=choice.wanted)


def check_claims(snapshot: HostSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """Whether other users of the host will see which GPUs this job holds."""
    if profile.device == "cpu" or "claims" not in snapshot.inventory.gaps:
        return None
    hint = "Without claims two launches may take the same GPU; docs/gpus.md explains claims."
    return warning("claims", snapshot.inventory.gaps["claims"], hint)


def _chosen(choice: Choice, there: int, needs: Requirements, profile: Profile) -> Finding:
    unread = [device for device in choice.devices if device.busy is None]
    if choice.short and not (needs.shrink and choice.devices):
        if needs.wait and choice.waiting_helps:
            return warning("gpus", _too_few(choice, profile), "It queues until they are free.")
        hint = _ways_out(choice, there, keeps_batch=needs.keeps_batch)
        # GPUs of others can be taken with --force; missing GPUs cannot.
        found = error("gpus", _too_few(choice, profile), hint)
        return replace(found, forcible=choice.force_helps)
    if choice.short:
        summary = f"{_gpus(choice)} instead of {choice.wanted}: {reasons(choice.refused)}"
        batch = (
            "steps see the same samples" if needs.keeps_batch else "global batch shrinks with it"
        )
        return warning("gpus", summary, f"The job shrinks to the free GPUs; its {batch}.")
    if choice.shared:
        in_use = [refusal for refusal in choice.shared if refusal.passes]
        how = "shared" if in_use else "taken by force"
        summary = f"{_gpus(choice)}, {how}: {reasons(choice.shared)}"
        hint = "Both jobs will be slower, and either may run out of memory."
        if not in_use:
            hint = "The scheduler may give them to another job at any time."
        return warning("gpus", summary, hint)
    if unread:
        unseen = ", ".join(str(device.index) for device in unread)
        why = unread[0].processes_gap or "the driver does not list them"
        summary = f"{_gpus(choice)}; the processes on {unseen} cannot be listed: {why}"
        hint = "`sudo nvidia-smi` may show them."
        if why != DENIED:
            hint = "Only readings of memory and utilisation say that they are free."
        return warning("gpus", summary, hint)
    return ok("gpus", f"{_gpus(choice)} of {there}, all free")


def _gpus(choice: Choice) -> str:
    return f"GPU {', '.join(str(device.index) for device in choice.devices) or '—'}"


def _too_few(choice: Choice, profile: Profile) -> str:
    model = f" {profile.gpus.model}" if profile.gpus and profile.gpus.model else ""
    free = f"{len(choice.devices)} free ({_gpus(choice)})" if choice.devices else "none free"
    return f"{choice.wanted}{model} wanted, {free}: {reasons(choice.refused)}"


def _ways_out(choice: Choice, there: int, *, keeps_batch: bool) -> str:
    ways: list[str] = []
    if choice.waiting_helps:
        ways.append("`--wait` queues until they are free")
    if choice.devices:
        same = " with the same global batch" if keeps_batch else ""
        ways.append(f"`--shrink` starts on {len(choice.devices)}{same}")
    if choice.waiting_helps:
        ways.append("`--force gpus` shares GPUs that are in use")
    elif choice.force_helps:
        ways.append("`--force gpus` takes GPUs that were given to others")
        ways += [] if choice.devices else ["`--profile cpu` runs without a GPU"]
    if ways:
        return f"{'; '.join(ways)}."
    if there:
        return "`gpuops gpus` lists the GPUs; `--profile cpu` runs without a GPU."
    return "`--profile cpu` runs without a GPU."
