"""Which GPUs a job takes, and why not the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from gpuops.core.launch.profile import Gpus
from gpuops.core.launch.queue import Ticket
from gpuops.core.machine.device import NO_SLICES, PROHIBITED, Device, is_slice, select
from gpuops.core.machine.gpu_health import gpu_problems
from gpuops.core.machine.gpu_use import describe_process, unseen_memory, unseen_work
from gpuops.errors import UsageError
from gpuops.text import GIB

# A GPU of 80 GB shows 79.65 GiB, one of 48 GB with ECC 44.99: a share, not a difference.
MEMORY_SHARE = 0.9

Reason = Literal[
    "excluded", "not asked for", "faulty", "mig", "prohibited", "model", "memory", "not yours",
    "claimed", "awaited", "busy", "unseen work", "unowned memory",
]  # fmt: skip
AT_WORK: tuple[Reason, ...] = ("busy", "unseen work", "unowned memory")
TAKEN: tuple[Reason, ...] = ("claimed", "awaited", *AT_WORK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The GPUs that a launch wants: how many, which, of what kind.

    ``only`` and ``exclude`` are selectors of the command line, ``spared`` of the profile.
    ``prefer`` holds the UUIDs of GPUs that the run had before; with ``share``, GPUs in use are
    taken too, and after them GPUs that a scheduler gave to others. GPUs at ``hot_c`` degrees
    Celsius or more are taken last.
    """

    count: int
    model: str | None = None
    memory_gib: float | None = None
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    hot_c: int = 85
    prefer: tuple[str, ...] = ()
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A GPU that the job does not take. ``words`` continue the sentence "GPU 3 ..."."""

    device: Device
    reason: Reason
    words: str

    @property
    def passes(self) -> bool:
        """Whether the reason may pass, so that waiting helps."""
        return self.reason in TAKEN

    @property
    def can_be_forced(self) -> bool:
        """Whether a user may take the GPU all the same; one in exclusive mode takes no other."""
        alone = self.device.compute_mode == "exclusive" and self.reason in AT_WORK
        return (self.passes and not alone) or self.reason == "not yours"

    def __str__(self) -> str:
        return f"{self.device.label} {self.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The GPUs taken, in bus order, and those refused. Those in ``shared`` are also others'."""

    wanted: int
    devices: tuple[Device, ...] = ()
    refused: tuple[Refusal, ...] = ()
    shared: tuple[Refusal, ...] = ()

    @property
    def short(self) -> int:
        """How many GPUs are missing."""
        return max(0, self.wanted - len(self.devices))

    @property
    def waiting_helps(self) -> bool:
        """Whether there would be enough GPUs if those in use became free."""
        return 0 < self.short <= sum(refusal.passes for refusal in self.refused)

    @property
    def force_helps(self) -> bool:
        """Whether there would be enough GPUs with those of others."""
        return 0 < self.short <= sum(refusal.can_be_forced for refusal in self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is free while a launch waits, which launches are ahead of it, and how long it waits."""

    choice: Choice
    ahead: tuple[Ticket, ...]
    waited_s: float


def choose(
    wish: Wish, devices: Sequence[Device], *, awaited: Collection[str] = frozenset()
) -> Choice:
    """Take free and healthy GPUs: on one NUMA node if one has enough, otherwise the first ones.

    ``awaited`` holds the UUIDs that earlier launches wait for.

    Raises:
        UsageError: a selector matches no GPU, or more than one, or contradicts another.
    """
    devices = tuple(devices)
    only = _selected(devices, wish.only, "--gpu")
    excluded = _selected(devices, wish.exclude, "--exclude-gpu")
    if both := sorted(only & excluded):
        raise UsageError(
            f"--gpu and --exclude-gpu both name GPU {both[0]}.", "Leave one of them out."
        )
    spared = {device.index for selector in wish.spared for device in select(devices, selector)}
    refusals = (
        _not_meant(device, only, excluded, spared)
        or _unsuited(device, wish)
        or _withheld(device)
        or _taken(device, awaited)
        for device in devices
    )
    refused = [refusal for refusal in refusals if refusal is not None]
    left = {refusal.device.index for refusal in refused}
    free = [device for device in devices if device.index not in left]
    ours = [device for device in free if device.uuid in wish.prefer]
    enough = len(ours) >= wish.count
    chosen = ours[: wish.count] if enough else _neighbours(_best(free, wish), wish.count)
    shared: list[Refusal] = []
    if wish.share:
        forced = [refusal for refusal in refused if refusal.can_be_forced]
        shared = sorted(forced, key=lambda one: not one.passes)[: wish.count - len(chosen)]
        refused = [refusal for refusal in refused if refusal not in shared]
    everything = [*chosen, *(refusal.device for refusal in shared)]
    return Choice(
        wanted=wish.count,
        devices=tuple(sorted(everything, key=lambda device: device.index)),
        refused=tuple(refused),
        shared=tuple(shared),
    )


def reasons(refused: Sequence[Refusal]) -> str:
    """``GPU 0 is excluded; GPU 2, 3 are held by run …``: GPUs with the same reason together."""
    by_words: dict[str, list[int]] = {}
    for refusal in refused:
        by_words.setdefault(refusal.words, []).append(refusal.device.index)
    named = [
        f"GPU {', '.join(map(str, indices))} {words if len(indices) == 1 else _plural(words)}"
        for words, indices in by_words.items()
    ]
    return "; ".join(named) or "there are no more GPUs"


def _plural(words: str) -> str:
    verb, _, rest = words.partition(" ")
    several = {"is": "are", "has": "have", "was": "were", "goes": "go", "cannot": "cannot"}
    return f"{several[verb]} {re.sub(r' it$', ' them', rest)}"


def why_not_free(device: Device, awaited: Collection[str] = ()) -> str | None:
    """Why no launch of ours takes a GPU, to continue "GPU 3 ..."; ``None`` if it is free.

    Of a GPU that a scheduler gave to others, also who uses it.
    """
    refusals = (_withheld(device), _in_use(device, awaited))
    return "; ".join(refusal.words for refusal in refusals if refusal) or None


def why_in_use(device: Device, awaited: Collection[str] = ()) -> str | None:
    """Why no launch at all takes a GPU, whomever it was given to."""
    refusal = _in_use(device, awaited)
    return refusal.words if refusal else None


def wish_of(gpus: Gpus, *, count: int | None = None, only: tuple[str, ...] = ()) -> Wish:
    """What a profile wants. GPUs named on the command line also give the count, unless it is given.

    Raises:
        UsageError: more are wanted than are named.
    """
    named = _split(only)
    if named and count is not None and count > len(named):
        raise UsageError(
            f"--nproc-per-node {count} wants more GPUs than --gpu names: {len(named)}.",
            "Leave one of them out, or name as many GPUs as ranks.",
        )
    return Wish(
        count=count or len(named) or gpus.count,
        model=gpus.model,
        memory_gib=gpus.memory_gib,
        only=named,
        # A user who names GPUs has looked at them, so the exclusions of the profile do not count.
        spared=() if named else tuple(str(selector) for selector in gpus.exclude),
    )


def _not_meant(
    device: Device, only: Collection[int], excluded: Collection[int], spared: Collection[int]
) -> Refusal | None:
    refuse = partial(Refusal, device=device)
    if device.index in excluded:
        return refuse(reason="excluded", words="is excluded")
    if device.index in spared:
        return refuse(reason="excluded", words="is left alone by the profile")
    if only and device.index not in only:
        return refuse(reason="not asked for", words="was not asked for")
    return None


def _unsuited(device: Device, wish: Wish) -> Refusal | None:
    refuse = partial(Refusal, device=device)
    if device.fault is not None:
        return refuse(reason="faulty", words=f"cannot be used: {device.fault}")
    if device.mig:
        return refuse(reason="mig", words=f"is in MIG mode: {NO_SLICES}")
    if device.compute_mode == "prohibited":
        return refuse(reason="prohibited", words=f"is closed to computation ({PROHIBITED})")
    if wish.model is not None and not _is_model(device.name or "", wish.model):
        return refuse(reason="model", words=f"is {device.name or 'of an unknown model'}")
    has, wants = device.memory_total_bytes, wish.memory_gib
    if wants is not None and has is not None and has < wants * GIB * MEMORY_SHARE:
        return refuse(reason="memory", words=f"has {has / GIB:.0f} GiB of memory")
    return None


def _withheld(device: Device) -> Refusal | None:
    if device.withheld_by is None:
        return None
    return Refusal(device=device, reason="not yours", words=f"is not yours: {device.withheld_by}")


def _in_use(device: Device, awaited: Collection[str]) -> Refusal | None:
    return _unsuited(device, Wish(count=1)) or _taken(device, awaited)


def _taken(device: Device, awaited: Collection[str]) -> Refusal | None:
    if device.claim is not None:
        return Refusal(device=device, reason="claimed", words=str(device.claim))
    if device.busy:
        users = ", ".join(map(describe_process, device.computing))
        alone = ", and takes one process at a time" if device.compute_mode == "exclusive" else ""
        return Refusal(device=device, reason="busy", words=f"is used by {users}{alone}")
    if (words := unseen_work(device)) is not None:
        return Refusal(device=device, reason="unseen work", words=words)
    if (words := unseen_memory(device)) is not None:
        return Refusal(device=device, reason="unowned memory", words=words)
    if device.uuid in awaited:
        return Refusal(device=device, reason="awaited", words="goes to a launch that waits for it")
    return None


def _best(free: Sequence[Device], wish: Wish) -> list[Device]:
    """The healthy GPUs, in bus order; if there are too few, the next best after them."""
    weights = [max((w for w, _ in gpu_problems(device, wish.hot_c)), default=0) for device in free]
    ranked = sorted(zip(weights, free, strict=True), key=lambda one: (one[0], one[1].index))
    worst = ranked[: wish.count][-1][0] if ranked else 0
    return [device for weight, device in ranked if weight <= worst]


def _neighbours(free: Sequence[Device], count: int) -> list[Device]:
    nodes: dict[int, list[Device]] = {}
    for device in free:
        if device.numa_node is not None:
            nodes.setdefault(device.numa_node, []).append(device)
    enough = [group for group in nodes.values() if len(group) >= count]
    return enough[0][:count] if enough else list(free[:count])


def _selected(devices: tuple[Device, ...], selectors: Sequence[str], flag: str) -> frozenset[int]:
    chosen: list[int] = []
    for selector in _split(selectors):
        matches = select(devices, selector)
        nameless = [device for device in devices if device.uuid is None]
        if flag == "--exclude-gpu" and not matches and nameless and _is_uuid(selector):
            continue  # a lost GPU has no UUID: it may still be excluded by it
        if len(matches) != 1 and devices:
            raise _mismatch(flag, selector, matches, devices)
        chosen += [device.index for device in matches]
    if flag == "--gpu" and (twice := [index for index in chosen if chosen.count(index) > 1]):
        raise UsageError(f"--gpu names GPU {twice[0]} twice.", "Name each GPU once.")
    return frozenset(chosen)


def _mismatch(
    flag: str, selector: str, matches: Sequence[Device], devices: Sequence[Device]
) -> UsageError:
    there = ", ".join(str(device.index) for device in matches or devices)
    if is_slice(selector):
        return UsageError(
            f"{flag} {selector} names a slice of a GPU: {NO_SLICES}.",
            f"The GPUs here: {there}; `gpuops gpus` shows which of them are in MIG mode.",
        )
    if matches:
        return UsageError(
            f"{flag} {selector} matches several GPUs: {there}.",
            "Write more of the UUID, or the index; `gpuops gpus` lists them.",
        )
    nameless = [
        f" {device.label} does not report its UUID: {device.fault or 'the reason is not known'}."
        for device in devices
        if device.uuid is None and _is_uuid(selector)
    ]
    return UsageError(
        f"{flag} {selector or repr(selector)} matches no GPU of this machine.",
        f"The GPUs here: {there}; `gpuops gpus` lists their UUIDs; 1,2,3 names several."
        f"{''.join(nameless)}",
    )


def _is_uuid(selector: str) -> bool:
    return selector.lower().startswith("gpu-")


def _split(selectors: Sequence[str]) -> tuple[str, ...]:
    """``--gpu 1,2`` is ``--gpu 1 --gpu 2``."""
    return tuple(part.strip() for selector in selectors for part in selector.split(","))


def _is_model(name: str, model: str) -> bool:
    """Whether a GPU is of a model, by whole words: an H200 is not an H20."""
    return re.search(rf"(?<!\w){re.escape(model)}(?!\w)", name, re.IGNORECASE) is not None
