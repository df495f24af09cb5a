"""The rows of the GPUs: one for each that was ever seen, even if it is lost now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace

from gpuops.core.machine.device import DENIED, Device, GpuInventory, select
from gpuops.core.machine.gpu_health import why_slow
from gpuops.core.machine.gpu_use import describe_process, unseen_use
from gpuops.core.monitor.rows import GpuRow, GpuState
from gpuops.core.monitor.sample import JobSample

HISTORY = 150  # samples: five minutes, at one every two seconds
# What a row shows as the driver reports it; its state is the monitor's own.
_READINGS = {f.name for f in fields(GpuRow)} & {f.name for f in fields(Device)} - {"state", "fault"}


def gpu_rows(
    inventory: GpuInventory,
    jobs: Sequence[JobSample],
    before: Sequence[GpuRow],
    passed_s: float,
    between: Collection[str] = (),
) -> tuple[GpuRow, ...]:
    """A row per GPU, in bus order. GPUs that the driver no longer lists keep theirs.

    ``between``: the folders of our runs between two attempts, which still hold their GPUs.
    """
    known = {row.index: row for row in before}
    ours = {*between, *(job.job.run_dir for job in jobs if job.job.ours)}
    owners = _owners(jobs)
    excluded = {
        device.index
        for job in jobs
        if job.job.ours
        for selector in job.facts.exclude_gpus
        for device in select(inventory.devices, selector)
    }
    rows: dict[int, GpuRow] = {}
    for device in inventory.devices:
        owner = owners.get(device.index) or _claimed(device, ours)
        state, fault = _state(device, owner, excluded=device.index in excluded)
        readings = {name: getattr(device, name) for name in _READINGS}
        holder = owner or _stranger(device)
        row = GpuRow(**readings, state=state, fault=fault, slow=why_slow(device), holder=holder)
        rows[device.index] = _aged(row, known.get(device.index), passed_s)
    fault = inventory.gaps.get("gpus", "the driver does not list it any more")
    for index, row in known.items():
        if index not in rows:
            gone = GpuRow(index=index, name=row.name, uuid=row.uuid, state="unreadable")
            rows[index] = _aged(replace(gone, fault=fault), row, passed_s)
    return tuple(rows[index] for index in sorted(rows))


def _state(device: Device, owner: str | None, *, excluded: bool) -> tuple[GpuState, str | None]:
    if device.state != "ok":
        return device.state, device.fault
    fault = device.processes_gap if device.processes is None else None
    state: GpuState = "ok"
    if owner is not None:
        fault = None
    elif fault == DENIED:
        state = "no permission"
    elif device.computing or device.claim is not None or unseen_use(device) is not None:
        state, fault = "busy-other", None
    elif excluded or device.withheld_by is not None:
        state, fault = "excluded", None
    elif device.processes is None:
        state = "users unknown"
    return state, fault


def _owners(jobs: Sequence[JobSample]) -> Mapping[int, str]:
    """The job of ours on each GPU, with its ranks there."""
    found: dict[int, list[str]] = {}
    for sample in jobs:
        if not sample.job.ours:
            continue
        for rank in sample.job.ranks:
            for index in sample.gpus(rank):
                found.setdefault(index, []).append(f"{sample.name} rank {rank.rank}")
    return {index: ", ".join(names) for index, names in found.items()}


def _claimed(device: Device, ours: Collection[str | None]) -> str | None:
    """The run of ours that has claimed it, but does not run on it now."""
    claim = device.claim
    return claim.run_id if claim is not None and claim.ours and claim.run_dir in ours else None


def _stranger(device: Device) -> str | None:
    """The claim or process that holds it and does not belong to our jobs, or why it is not ours."""
    claim = device.claim
    if claim is not None:
        return f"{claim.run_id or 'a launch'}{f' of {claim.user}' if claim.user else ''}"
    first, *others = device.computing or (None,)
    if first is None:
        unseen = (unseen_use(device) or "").removeprefix("has ").removeprefix("is ")
        return unseen or (device.withheld_by and f"not yours: {device.withheld_by}")
    process = f"{first.user}: {first.command}"
    if first.whose != "known" or first.user is None or first.command is None:
        process = describe_process(first)
    return f"{process} and {len(others)} more" if others else process


def _aged(row: GpuRow, before: GpuRow | None, passed_s: float) -> GpuRow:
    past = before.history if before is not None else ()
    same = before is not None and before.state == row.state
    return replace(
        row,
        state_age_s=before.state_age_s + passed_s if before is not None and same else 0.0,
        history=(*past[1 - HISTORY :], row.utilization_pct),
    )
