"""A failed GPU explains a crash or a hang, whatever the ranks report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gpuops.core.diagnosis.diagnosis import ADVICE, Diagnosis
from gpuops.core.machine.device import Device, DeviceRef, GpuInventory, Xid
from gpuops.core.machine.xids import MEANINGS, UNKNOWN

FATAL = {"reset", "restart"}
UNLISTED = "the driver does not list it any more"


def describe_xid(xid: Xid) -> str:
    """A GPU's error as a line of evidence."""
    return f"Xid {xid.code}, {MEANINGS.get(xid.code, UNKNOWN)[0]}: {xid.text}"


def diagnose_xids(
    gpu: int, xids: Sequence[Xid], rank: int | None, pid: int | None
) -> Diagnosis | None:
    """The diagnosis that a GPU's errors in the kernel's log imply, if one is fatal."""
    cause = next((xid for xid in xids if MEANINGS.get(xid.code, UNKNOWN)[1] in FATAL), None)
    if cause is None:
        return None
    why = f"GPU {gpu} failed: Xid {cause.code}, {MEANINGS[cause.code][0]}"
    return _lost(gpu, why, rank, pid, tuple(map(describe_xid, xids)))


def gpus_of_ranks(
    planned: Mapping[int, DeviceRef], inventory: GpuInventory, xids: Mapping[int, Sequence[Xid]]
) -> dict[int, Device]:
    """Each rank's planned GPU as the driver shows it now, with its recent errors.

    A lost GPU no longer reports its UUID, and may not be listed at all.
    """
    return {
        rank: replace(_find(inventory, gpu), xids=tuple(xids.get(gpu.index, ())))
        for rank, gpu in planned.items()
    }


def apply_gpu_faults(
    found: Diagnosis, gpus: Mapping[int, Device], pids: Mapping[int, int]
) -> Diagnosis:
    """Correct the diagnosis of a hang by the state of the GPUs.

    A GPU that the driver has lost, by its own report or the kernel's log, outweighs all stacks; a
    GPU that only does not answer outweighs an unsure diagnosis.
    """
    for rank, gpu in sorted(gpus.items()):
        cause = diagnose_xids(gpu.index, gpu.xids or (), rank, pids.get(rank))
        if cause is None and gpu.state == "lost":
            why = f"GPU {gpu.index} is lost: {gpu.fault}"
            cause = _lost(gpu.index, why, rank, pids.get(rank), ())
        if cause is not None:
            evidence = (*cause.evidence, *found.evidence)
            return replace(cause, groups=found.groups, evidence=evidence)
    faults = tuple(line for _, gpu in sorted(gpus.items()) for line in _describe_faults(gpu))
    found = replace(found, evidence=(*found.evidence, *faults))
    stuck = [rank for rank, gpu in sorted(gpus.items()) if gpu.state == "stuck"]
    if found.sure or not stuck:
        return found
    silent = ", ".join(gpus[rank].label for rank in stuck)
    one = stuck[0] if len(stuck) == 1 else None
    return replace(
        found,
        kind="gpu lost",
        rank=one,
        pid=None if one is None else pids.get(one),
        gpu=None if one is None else gpus[one].index,
        place=None,
        why=f"{silent}: {gpus[stuck[0]].fault}",
        advice=ADVICE["gpu lost"],
        sure=False,
    )


def _find(inventory: GpuInventory, gpu: DeviceRef) -> Device:
    index, uuid = gpu.index, gpu.uuid
    if "gpus" in inventory.gaps:
        fault = inventory.gaps["gpus"]
        return Device(index=index, state="unreadable" if inventory.absent else "stuck", fault=fault)
    same = (one for one in inventory.devices if uuid is not None and one.uuid == uuid)
    there = (one for one in inventory.devices if one.index == index and not (uuid and one.uuid))
    lost = Device(index=index, state="lost", fault=UNLISTED)
    return next(same, None) or next(there, lost)


def _describe_faults(gpu: Device) -> tuple[str, ...]:
    fault = () if gpu.state == "ok" else (f"GPU {gpu.index}: {gpu.fault}",)
    return (*fault, *(f"GPU {gpu.index}: {describe_xid(xid)}" for xid in gpu.xids or ()))


def _lost(
    gpu: int, why: str, rank: int | None, pid: int | None, evidence: tuple[str, ...]
) -> Diagnosis:
    return Diagnosis(
        kind="gpu lost",
        rank=rank,
        pid=pid,
        gpu=gpu,
        why=why,
        advice=f"Leave it out with `--exclude-gpu {gpu}` until it has been reset or replaced.",
        evidence=evidence,
        sure=True,
    )
