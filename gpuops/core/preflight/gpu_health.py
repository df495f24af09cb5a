"""The health of the job's GPUs, and a note on the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.launch.choice import Choice
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import Device, GpuInventory
from gpuops.core.machine.gpu_health import narrowed
from gpuops.core.machine.snapshot import HostSnapshot
from gpuops.core.preflight.requirements import Requirements
from gpuops.core.preflight.xid_check import check_xid
from gpuops.text import GIB, many


def check_gpus(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> list[Finding]:
    """The problems of the GPUs, a finding each; one line if there are none."""
    gpus = needs.choice.devices if needs.choice else ()
    every, limits = snapshot.inventory.devices, profile.limits
    found = (
        _check_temperature(gpus, limits.temperature_c),
        _check_ecc(gpus),
        _check_remap(gpus),
        check_xid(gpus, snapshot.now_s),
        _check_throttle(gpus),
        _check_pcie(gpus),
        _check_nvlink(gpus, every),
        _check_persistence(gpus),
        _check_headroom(gpus, limits.memory_headroom),
        _check_topology(gpus),
        _check_others(needs.choice, every),
    )
    findings = [finding for finding in found if finding is not None]
    if gpus and all(finding.severity == "ok" for finding in findings):
        findings.insert(0, _all_well(snapshot.inventory, gpus, limits.temperature_c))
    return findings


def _check_temperature(gpus: Sequence[Device], limit_c: int) -> Finding | None:
    """A GPU that is hot before the job begins will slow down or switch off."""
    hot = [gpu for gpu in gpus if (gpu.temperature_c or 0) >= limit_c]
    if not hot:
        return None
    degrees = _each(hot, lambda gpu: f"{gpu.temperature_c} °C")
    summary = f"{degrees}; GPUs should start below {limit_c} °C"
    look = "`nvidia-smi -q -d TEMPERATURE` shows at what temperature it slows down."
    hint = f"Check its fans and the air around it. {look}"
    hottest = f"{max(gpu.temperature_c or 0 for gpu in hot)} °C"
    return warning("temperature", summary, hint, measured=hottest, wanted=f"< {limit_c} °C")


def _check_ecc(gpus: Sequence[Device]) -> Finding | None:
    """Memory with uncorrected errors may have more of them."""
    ill = [gpu for gpu in gpus if gpu.memory.ecc_uncorrected]
    if not ill:
        return None
    summary = f"{_each(ill, _lost_bits)} since the driver was loaded"
    reset = f"With nothing running on it, `sudo nvidia-smi --gpu-reset -i {_indices(ill)}`"
    hint = f"{reset} lets it repair itself; if they come back, replace it."
    most = max(gpu.memory.ecc_uncorrected or 0 for gpu in ill)
    return warning("ecc", summary, hint, measured=most, wanted=0)


def _check_remap(gpus: Sequence[Device]) -> Finding | None:
    """At a reset spare memory replaces broken memory, while there is spare memory left."""
    broken = [gpu for gpu in gpus if gpu.memory.remap_failed]
    waiting = [gpu for gpu in gpus if gpu not in broken and gpu.memory.awaits_reset]
    summary = _each([*broken, *waiting], _repair)
    if broken:
        hint = f"Replace the GPU; until then leave it out with `--exclude-gpu {_indices(broken)}`."
        return error("remap", summary, hint, measured="failed", wanted="none")
    if waiting:
        reset = f"`sudo nvidia-smi --gpu-reset -i {_indices(waiting)}`"
        hint = f"With nothing running on it: {reset}, or restart the host."
        return warning("remap", summary, hint, measured="pending", wanted="none")
    return None


def _check_throttle(gpus: Sequence[Device]) -> Finding | None:
    """One slow GPU makes all ranks wait for it."""
    slow = [gpu for gpu in gpus if gpu.slowed_by]
    if not slow:
        return None
    summary = _each(slow, lambda gpu: f"slowed by {', '.join(gpu.slowed_by or ())}")
    look = "look at cooling and power supply (`nvidia-smi -q -d PERFORMANCE`)"
    hint = f"All ranks wait for the slowest: {look}."
    return warning("throttle", summary, hint, measured=len(slow), wanted=0)


def _check_pcie(gpus: Sequence[Device]) -> Finding | None:
    """A narrow link slows all transfers between GPU and host."""
    narrow = [gpu for gpu in gpus if narrowed(gpu)]
    if not narrow:
        return None
    first = narrow[0].pcie
    now, want = f"PCIe {first.generation}", f"PCIe {first.generation_max}"
    if (first.width or 0) < (first.width_max or 0):
        now, want = f"x{first.width}", f"x{first.width_max}"
    hint = "Check that the GPU is firm in its slot; risers and shared slots narrow a link too."
    return warning("pcie", _each(narrow, narrowed), hint, measured=now, wanted=want)


def _check_nvlink(gpus: Sequence[Device], every: Sequence[Device]) -> Finding | None:
    """NVLinks that are down. A GPU without links is fine unless others of its model have some."""

    def most(gpu: Device) -> int:
        alike = (other for other in every if other.name == gpu.name)
        return max((other.nvlinks_up or 0 for other in alike), default=0)

    def fault(gpu: Device) -> str:
        up, wanted = gpu.nvlinks_up, most(gpu)
        if up is None or (up >= wanted and not (up and gpu.nvlinks_down)):
            return ""
        down = ", ".join(map(str, gpu.nvlinks_down or ()))
        return f"NVLink {down} down" if down else f"{up} of {wanted} NVLinks up"

    faulty = [gpu for gpu in gpus if fault(gpu)]
    if not faulty:
        return None
    up = min(gpu.nvlinks_up or 0 for gpu in faulty)
    want = max(len(gpu.nvlinks_down or ()) + (gpu.nvlinks_up or 0) for gpu in faulty)
    hint = "`nvidia-smi nvlink -s` shows them; a reset of the GPU may bring them back."
    return warning("nvlink", _each(faulty, fault), hint, measured=up, wanted=want)


def _check_persistence(gpus: Sequence[Device]) -> Finding | None:
    """Without persistence mode the driver unloads an unused GPU, and every start reloads it."""
    off = [gpu for gpu in gpus if gpu.persistence is False]
    if not off:
        return None
    words = "persistence mode is off, so every start waits for the driver"
    summary, hint = _each(off, lambda _: words), "`sudo nvidia-smi -pm 1` switches it on."
    return warning("persistence", summary, hint, measured="off", wanted="on")


def _check_headroom(gpus: Sequence[Device], headroom: float) -> Finding | None:
    """Memory already in use reduces the headroom that the profile wants to keep free."""
    full = [gpu for gpu in gpus if _used_share(gpu) > headroom]
    if not full:
        return None
    fullest = max(full, key=_used_share)
    used, total = fullest.memory_used_bytes or 0, fullest.memory_total_bytes or 0
    now, want = (f"{size / GIB:.1f} GiB in use" for size in (used, headroom * total))
    summary = f"{_each(full, _in_use)}, more than the {headroom:.0%} that a job leaves free"
    hint = "`gpuops gpus` shows which processes hold it; a smaller batch leaves more room."
    return warning("headroom", summary, hint, measured=now, wanted=f"<= {want}")


def _check_topology(gpus: Sequence[Device]) -> Finding | None:
    """GPUs on one NUMA node reach each other without crossing the link between the sockets."""
    nodes: dict[int, list[Device]] = {}
    for gpu in gpus:
        if gpu.numa_node is None:
            return None
        nodes.setdefault(gpu.numa_node, []).append(gpu)
    if len(gpus) < 2:
        return None
    places = (f"GPU {', '.join(_names(near))} on NUMA node {n}" for n, near in nodes.items())
    return ok("topology", "; ".join(places), measured=len(nodes))


def _check_others(choice: Choice | None, every: Sequence[Device]) -> Finding | None:
    """Problems of GPUs that the job does not take: a warning, unless the user left them out.

    If the job lacks GPUs, the check of the choice has reported them already.
    """
    if choice is None or choice.short:
        return None
    taken = {gpu.index for gpu in choice.devices}
    left_out = {"excluded", "not asked for", "not yours"}
    meant = {one.device.index for one in choice.refused if one.reason in left_out}
    ill = [gpu for gpu in every if gpu.index not in taken and _problem(gpu)]
    if not ill:
        return None
    summary = f"{_each(ill, _problem)}; not used by this job"
    if all(gpu.index in meant for gpu in ill):
        return ok("others", summary, measured=len(ill))
    hint = f"Tell the host's operator; `--exclude-gpu {_indices(ill)}` silences this warning."
    return warning("others", summary, hint, measured=len(ill), wanted=0)


def _all_well(inventory: GpuInventory, gpus: Sequence[Device], limit_c: int) -> Finding:
    """One line that names what was checked, and nothing else."""
    heat = [gpu.temperature_c for gpu in gpus if gpu.temperature_c is not None]
    low, high = min(heat, default=None), max(heat, default=None)
    xids = "Xid errors of programs only"
    if all(gpu.xids == () for gpu in gpus):
        xids = "no Xid errors"
    elif any(gpu.xids is None for gpu in gpus):
        gap = inventory.gaps.get("xids", "the kernel's log cannot be read")
        xids = f"Xid errors unknown: {gap}"
    seen = {
        f"{low} °C" if low == high else f"{low} to {high} °C": heat,
        "at full clocks": all(gpu.slowed_by is not None for gpu in gpus),
        "no memory errors": all(gpu.memory.ecc_uncorrected is not None for gpu in gpus),
        "PCIe at full width": all(gpu.pcie.width is not None for gpu in gpus),
        "NVLinks up": all(gpu.nvlinks_up for gpu in gpus),
        xids: True,
    }
    summary = ", ".join(words for words, holds in seen.items() if holds)
    hottest = f"{high} °C" if heat else None
    return ok("gpu-health", summary, measured=hottest, wanted=f"< {limit_c} °C")


def _each(gpus: Iterable[Device], describe: Callable[[Device], str]) -> str:
    """``GPU 1, 2: 91 °C; GPU 5: 88 °C``: GPUs with the same description are grouped."""
    by_words: dict[str, list[Device]] = {}
    for gpu in gpus:
        if words := describe(gpu):
            by_words.setdefault(words, []).append(gpu)
    return "; ".join(f"GPU {', '.join(_names(same))}: {words}" for words, same in by_words.items())


def _names(gpus: Iterable[Device]) -> list[str]:
    return [str(gpu.index) for gpu in gpus]


def _indices(gpus: Iterable[Device]) -> str:
    """``1,2``, for the command lines of nvidia-smi and gpuops."""
    return ",".join(_names(gpus))


def _lost_bits(gpu: Device) -> str:
    return many(gpu.memory.ecc_uncorrected or 0, "uncorrected memory error")


def _repair(gpu: Device) -> str:
    if gpu.memory.remap_failed:
        return "broken memory could not be replaced by spare rows"
    what = "rows" if gpu.memory.remap_pending else "pages"
    return f"broken memory {what} wait for a reset to be replaced"


def _used_share(gpu: Device) -> float:
    return (gpu.memory_used_bytes or 0) / (gpu.memory_total_bytes or math.inf)


def _in_use(gpu: Device) -> str:
    used, total = gpu.memory_used_bytes or 0, gpu.memory_total_bytes or 0
    return f"{used / GIB:.1f} of {total / GIB:.1f} GiB in use already"


def _problem(gpu: Device) -> str:
    if gpu.fault is not None:
        return gpu.fault
    if gpu.memory.remap_failed:
        return _repair(gpu)
    return _lost_bits(gpu) if gpu.memory.ecc_uncorrected else ""
