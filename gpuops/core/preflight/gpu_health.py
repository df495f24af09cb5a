"""Whether the cards that the job takes are well, and a word on those that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import Box, Device
from gpuops.core.machine.gpu_health import narrowed
from gpuops.core.machine.snapshot import NodeSnapshot
from gpuops.core.preflight.requirements import Requirements
from gpuops.core.preflight.xid_check import check_xid
from gpuops.core.units import GIB, many


def check_cards(node: NodeSnapshot, profile: Profile, needs: Requirements) -> list[Finding]:
    """What is wrong with the cards, each under its own name; one line where nothing is."""
    found = [check(node, profile, needs) for check in HEALTH]
    findings = [finding for finding in found if finding is not None]
    if needs.choice and all(finding.severity == "ok" for finding in findings):
        findings[:0] = _all_well(node.box, needs.choice.devices, profile.limits.temperature_c)
    return findings


def check_temperature(_node: NodeSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """A card that is hot before the job begins will slow down, or switch off."""
    limit = profile.limits.temperature_c
    hot = {
        card.index: card.temperature_c
        for card in _chosen(needs)
        if card.temperature_c is not None and card.temperature_c >= limit
    }
    if not hot:
        return None
    return warning(
        "temperature",
        f"{_each(_chosen(needs), lambda card: _celsius(hot.get(card.index)))}; "
        f"cards should start below {limit} °C",
        "Are its fans free, and the air around it cool? "
        "`nvidia-smi -q -d TEMPERATURE` shows where it slows down.",
        measured=_celsius(max(hot.values())),
        wanted=f"< {limit} °C",
    )


def check_ecc(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Memory that has lost bits may lose more."""
    ill = [card for card in _chosen(needs) if card.memory.ecc_uncorrected]
    if not ill:
        return None
    return warning(
        "ecc",
        f"{_each(ill, _lost_bits)} since the driver was loaded",
        f"With nothing running on it, `sudo nvidia-smi --gpu-reset -i {_indices(ill)}` lets it "
        "repair itself; if they come back, replace it.",
        measured=max(card.memory.ecc_uncorrected or 0 for card in ill),
        wanted=0,
    )


def check_remap(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Spare memory takes the place of broken memory at a reset, as long as there is any."""
    broken = [card for card in _chosen(needs) if card.memory.remap_failed]
    waiting = [card for card in _chosen(needs) if card not in broken and _awaits_reset(card)]
    said = _each([*broken, *waiting], _repair)
    if broken:
        return error(
            "remap",
            said,
            f"Replace the card; until then leave it out with `--exclude-gpu {_indices(broken)}`.",
            measured="failed",
            wanted="none",
        )
    if waiting:
        return warning(
            "remap",
            said,
            "With nothing running on it: "
            f"`sudo nvidia-smi --gpu-reset -i {_indices(waiting)}`, or restart the machine.",
            measured="pending",
            wanted="none",
        )
    return None


def check_throttle(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """One slow card makes all ranks wait for it."""
    slow = [card for card in _chosen(needs) if card.slowed_by]
    if not slow:
        return None
    return warning(
        "throttle",
        _each(slow, lambda card: f"slowed by {', '.join(card.slowed_by or ())}"),
        "All ranks wait for the slowest: look at cooling and power supply "
        "(`nvidia-smi -q -d PERFORMANCE`).",
        measured=len(slow),
        wanted=0,
    )


def check_pcie(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """A narrow link slows whatever goes between card and host."""
    narrow = [card for card in _chosen(needs) if narrowed(card)]
    if not narrow:
        return None
    first = narrow[0].pcie
    lanes = (first.width or 0) < (first.width_max or 0)
    return warning(
        "pcie",
        _each(narrow, narrowed),
        "Is the card firm in its slot? Risers and shared slots narrow a link too.",
        measured=f"x{first.width}" if lanes else f"PCIe {first.generation}",
        wanted=f"x{first.width_max}" if lanes else f"PCIe {first.generation_max}",
    )


def check_nvlink(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Links that are down; a card that has none at all is wired so, unless its like have some."""

    def most(card: Device) -> int:
        alike = (other for other in node.box.devices if other.name == card.name)
        return max((other.nvlinks_up or 0 for other in alike), default=0)

    def fault(card: Device) -> str:
        up, wanted = card.nvlinks_up, most(card)
        if up is None or (up >= wanted and not (up and card.nvlinks_down)):
            return ""
        down = ", ".join(map(str, card.nvlinks_down or ()))
        return f"NVLink {down} down" if down else f"{up} of {wanted} NVLinks up"

    lame = [card for card in _chosen(needs) if fault(card)]
    if not lame:
        return None
    return warning(
        "nvlink",
        _each(lame, fault),
        "`nvidia-smi nvlink -s` shows them; a reset of the card may bring them back.",
        measured=min(card.nvlinks_up or 0 for card in lame),
        wanted=max(len(card.nvlinks_down or ()) + (card.nvlinks_up or 0) for card in lame),
    )


def check_persistence(
    _node: NodeSnapshot, _profile: Profile, needs: Requirements
) -> Finding | None:
    """Without it the driver lets go of a card that nobody uses, and wakes it at every start."""
    off = [card for card in _chosen(needs) if card.persistence is False]
    if not off:
        return None
    return warning(
        "persistence",
        _each(off, lambda _: "persistence mode is off, so that every start waits for the driver"),
        "`sudo nvidia-smi -pm 1`",
        measured="off",
        wanted="on",
    )


def check_headroom(_node: NodeSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """What is in use already eats the room that a batch that fits is meant to leave."""
    headroom = profile.limits.memory_headroom
    full = [card for card in _chosen(needs) if _used_share(card) > headroom]
    if not full:
        return None
    fullest = max(full, key=_used_share)
    allowed = headroom * (fullest.memory_total_bytes or 0)
    return warning(
        "headroom",
        f"{_each(full, _in_use)}, more than the {headroom:.0%} that a job leaves free",
        "`gpuops gpus` shows whose it is; a smaller batch leaves more room.",
        measured=f"{(fullest.memory_used_bytes or 0) / GIB:.1f} GiB in use",
        wanted=f"<= {allowed / GIB:.1f} GiB in use",
    )


def check_topology(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Cards on one NUMA node reach each other without crossing the link between the sockets."""
    nodes: dict[int, list[Device]] = {}
    for card in _chosen(needs):
        if card.numa_node is None:
            return None
        nodes.setdefault(card.numa_node, []).append(card)
    if len(_chosen(needs)) < 2:
        return None
    places = [
        f"GPU {', '.join(_names(cards))} on NUMA node {node}" for node, cards in nodes.items()
    ]
    return ok("topology", "; ".join(places), measured=len(nodes))


def check_others(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """A word on ill cards that the job does not take: loud, unless they were left out on purpose.

    Where cards are missing, the check of the choice has said it already.
    """
    if needs.choice is None or needs.choice.short:
        return None
    taken = {card.index for card in needs.choice.devices}
    meant = {
        refusal.device.index
        for refusal in needs.choice.refused
        if refusal.reason in {"excluded", "not asked for"}
    }
    ill = [card for card in node.box.devices if card.index not in taken and _ailment(card)]
    if not ill:
        return None
    said = f"{_each(ill, _ailment)}; not used by this job"
    if all(card.index in meant for card in ill):
        return ok("others", said, measured=len(ill))
    return warning(
        "others",
        said,
        f"Tell the machine's operator; `--exclude-gpu {_indices(ill)}` says that you know.",
        measured=len(ill),
        wanted=0,
    )


HEALTH = (
    check_temperature,
    check_ecc,
    check_remap,
    check_xid,
    check_throttle,
    check_pcie,
    check_nvlink,
    check_persistence,
    check_headroom,
    check_topology,
    check_others,
)


def _all_well(box: Box, cards: Sequence[Device], limit_c: int) -> Iterable[Finding]:
    """One line that names what was looked at, and no more than that."""
    if not cards:
        return
    seen: list[str] = []
    heat = [card.temperature_c for card in cards if card.temperature_c is not None]
    if heat:
        low, high = min(heat), max(heat)
        seen.append(f"{low} °C" if low == high else f"{low} to {high} °C")
    if all(card.slowed_by is not None for card in cards):
        seen.append("at full clocks")
    if all(card.memory.ecc_uncorrected is not None for card in cards):
        seen.append("no memory errors")
    if all(card.pcie.width is not None for card in cards):
        seen.append("PCIe at full width")
    if all(card.nvlinks_up for card in cards):
        seen.append("NVLinks up")
    if all(card.xids == () for card in cards):
        seen.append("no Xid errors")
    elif any(card.xids is None for card in cards):
        gap = box.gaps.get("xids", "the kernel's log cannot be read")
        seen.append(f"Xid errors unknown: {gap}")
    else:
        seen.append("Xid errors of programs only")
    yield ok(
        "cards",
        ", ".join(seen),
        measured=_celsius(max(heat)) if heat else None,
        wanted=f"< {limit_c} °C",
    )


def _chosen(needs: Requirements) -> tuple[Device, ...]:
    return needs.choice.devices if needs.choice else ()


def _each(cards: Iterable[Device], say: Callable[[Device], str]) -> str:
    """``GPU 1, 2: 91 °C; GPU 5: 88 °C``: those of which the same is said stand together."""
    by_words: dict[str, list[Device]] = {}
    for card in cards:
        if words := say(card):
            by_words.setdefault(words, []).append(card)
    return "; ".join(f"GPU {', '.join(_names(same))}: {words}" for words, same in by_words.items())


def _names(cards: Iterable[Device]) -> list[str]:
    return [str(card.index) for card in cards]


def _indices(cards: Iterable[Device]) -> str:
    """As the command lines of nvidia-smi and gpuops take them."""
    return ",".join(_names(cards))


def _celsius(temperature: int | None) -> str:
    return "" if temperature is None else f"{temperature} °C"


def _lost_bits(card: Device) -> str:
    return many(card.memory.ecc_uncorrected or 0, "uncorrected memory error")


def _awaits_reset(card: Device) -> bool:
    return bool(card.memory.remap_pending or card.memory.retired_pending)


def _repair(card: Device) -> str:
    if card.memory.remap_failed:
        return "broken memory could not be replaced by spare rows"
    what = "rows" if card.memory.remap_pending else "pages"
    return f"broken memory {what} wait for a reset to be replaced"


def _used_share(card: Device) -> float:
    if not card.memory_total_bytes or card.memory_used_bytes is None:
        return 0.0
    return card.memory_used_bytes / card.memory_total_bytes


def _in_use(card: Device) -> str:
    used, total = card.memory_used_bytes or 0, card.memory_total_bytes or 0
    return f"{used / GIB:.1f} of {total / GIB:.1f} GiB in use already"


def _ailment(card: Device) -> str:
    if card.fault is not None:
        return card.fault
    if card.memory.remap_failed:
        return _repair(card)
    return _lost_bits(card) if card.memory.ecc_uncorrected else ""
