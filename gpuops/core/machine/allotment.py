"""The GPUs that a scheduler gave to this shell: all others are not ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from gpuops.core.machine.device import NO_SLICES, Device
from gpuops.text import one_line

CUDA, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
SLURM = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")  # a step has some of the GPUs of its job
CONTAINER = "NVIDIA_VISIBLE_DEVICES"  # which of the host's GPUs a container was given
VARIABLES = (CUDA, ORDER, CONTAINER, *SLURM)
SHOWN = 60
# CUDA reads a number as strtoul does: what follows its digits does not count.
_INDEX = re.compile(r"\s*([+-]?)([0-9]{1,9})(?![0-9])", re.ASCII)
_RANGE = re.compile(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", re.ASCII)


def mark_withheld(devices: Sequence[Device], variables: Mapping[str, str]) -> tuple[Device, ...]:
    """The same GPUs; those that the variables leave out name the variable that does.

    Without these variables all GPUs are ours.
    """
    marked = tuple(devices)
    if CUDA in variables:
        ours, words = parse_visible(variables[CUDA], devices), _words(CUDA, variables[CUDA])
        end = _parse_visible(variables[CUDA], devices)[1]
        if end not in {None, variables[CUDA].split(",")[-1]}:
            words += f", which CUDA reads up to {one_line(end or '', SHOWN)!r}"
        if "MIG-" in variables[CUDA]:
            words += f", {NO_SLICES}"
        elif _ambiguous(devices, variables):
            words += ", counted in PCI bus order"
        marked = _mark(marked, ours, words)
    ours_here = parse_container(variables.get(CONTAINER, ""), devices)
    if ours_here is not None:
        marked = _mark(marked, ours_here, _words(CONTAINER, variables[CONTAINER]))
    name = next((name for name in SLURM if variables.get(name)), None)
    if name is not None:
        ours = parse_slurm(variables[name], devices)
        marked = _mark(marked, ours, _words(name, variables[name]))
    return marked


def parse_visible(value: str, devices: Sequence[Device]) -> frozenset[int]:
    """The indices of the GPUs that CUDA would show for a value of ``CUDA_VISIBLE_DEVICES``.

    As in CUDA, the first entry that names no GPU ends the list, and a GPU that is named twice
    makes it empty. Entries are indices, or UUIDs or unique beginnings of them; a slice of a GPU
    (``MIG-...``) is not a GPU. Indices are those of ``devices``, which are in PCI bus order.
    """
    return _parse_visible(value, devices)[0]


def _parse_visible(value: str, devices: Sequence[Device]) -> tuple[frozenset[int], str | None]:
    """The indices, and the entry that ended the list, if one did."""
    by_uuid = value.startswith("GPU-")
    found: list[int] = []
    for entry in value.split(","):
        index = _by_uuid(entry, devices) if by_uuid else _by_index(entry, devices)
        if index is None and by_uuid and entry.startswith("GPU-") and _nameless(devices):
            continue  # it may be the GPU that is lost and does not report its UUID
        if index is None:
            return frozenset(found), entry
        if index in found:
            return frozenset(), None
        found.append(index)
    return frozenset(found), None


def parse_container(value: str, devices: Sequence[Device]) -> frozenset[int] | None:
    """The indices of the GPUs that a value of ``NVIDIA_VISIBLE_DEVICES`` gives; ``None`` if all.

    A container shows only the GPUs that it was given, unless it is privileged or the variable was
    set outside of one. UUIDs name the same GPU everywhere. Indices are those of the host: if no
    more GPUs are visible than are listed, these are all of them. ``all``, ``void`` (also set if
    GPUs are given in another way), slices and names of other kinds say nothing.
    """
    listed = {entry.strip() for entry in value.split(",")}
    if listed == {"none"}:
        return frozenset()
    numbers = {int(entry) for entry in listed if entry.isascii() and entry.isdecimal()}
    uuids = {entry for entry in listed if entry.startswith("GPU-")}
    if len(numbers) + len(uuids) < len(listed) or (numbers and len(devices) <= len(listed)):
        return None
    return frozenset(
        device.index
        for device in devices
        if device.index in numbers or (device.uuid or next(iter(uuids), None)) in uuids
    )


def parse_slurm(value: str, devices: Sequence[Device]) -> frozenset[int]:
    """The indices of the GPUs that Slurm lists, as ``3,4`` or ``0-3``.

    Slurm counts all GPUs of the host, even if a control group hides some of them: if no more are
    visible than it lists, it gave all of these.
    """
    listed: set[int] = set()
    for match in filter(None, map(_RANGE.fullmatch, value.split(","))):
        first = int(match[1])
        listed |= {*range(first, int(match[2] or first) + 1)}
    there = {device.index for device in devices}
    return frozenset(there if len(there) <= len(listed) else there & listed)


def _mark(devices: tuple[Device, ...], ours: Collection[int], words: str) -> tuple[Device, ...]:
    return tuple(
        device
        if device.index in ours or device.withheld_by is not None
        else replace(device, withheld_by=words)
        for device in devices
    )


def _words(name: str, value: str) -> str:
    return f"{name}={shlex.quote(one_line(value, SHOWN))}"


def _by_index(entry: str, devices: Sequence[Device]) -> int | None:
    match = _INDEX.match(entry)
    if match is None or match[1] == "-" or int(match[2]) >= len(devices):
        return None
    return devices[int(match[2])].index


def _by_uuid(entry: str, devices: Sequence[Device]) -> int | None:
    if not entry.startswith("GPU-"):
        return None
    found = [d.index for d in devices if d.uuid is not None and d.uuid.startswith(entry.rstrip())]
    return found[0] if len(found) == 1 else None


def _nameless(devices: Sequence[Device]) -> bool:
    return any(device.uuid is None for device in devices)


def _ambiguous(devices: Sequence[Device], variables: Mapping[str, str]) -> bool:
    """Whether CUDA may count otherwise: by default the fastest model comes first."""
    by_speed = variables.get(ORDER) != "PCI_BUS_ID"
    models = {device.name for device in devices}
    return by_speed and len(models) > 1 and not variables[CUDA].startswith("GPU-")
