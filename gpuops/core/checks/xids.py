"""What the driver wrote into the kernel's log about a card: its Xid errors, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gpuops.core.device import Device, Xid
from gpuops.core.finding import Finding, ok, warning

if TYPE_CHECKING:  # who only wants the meanings does without the profiles
    from gpuops.core.node import NodeSnapshot
    from gpuops.core.profile import Profile
    from gpuops.core.requirements import Requirements

Remedy = Literal["none", "look", "reset", "restart"]
REMEDIES: tuple[Remedy, ...] = ("none", "look", "reset", "restart")

# https://docs.nvidia.com/deploy/xid-errors: what happened, and what is to be done at once.
MEANINGS: dict[int, tuple[str, Remedy]] = {
    13: ("a program's kernel failed, often by an index out of range", "none"),
    31: ("a program reached outside its memory", "none"),
    43: ("a program's work was stopped after a fault of its own", "none"),
    45: ("a program's work was cleared away after an earlier error", "none"),
    48: ("uncorrectable memory error", "reset"),
    62: ("its power controller halted", "reset"),
    63: ("a memory row was set aside, to be replaced at a reset", "look"),
    64: ("a broken memory row could not be set aside", "reset"),
    74: ("NVLink error", "reset"),
    79: ("it fell off the bus", "restart"),
    92: ("many corrected memory errors", "look"),
    94: ("memory error, contained: one program ended", "look"),
    95: ("memory error, not contained: any program's data may be spoilt", "reset"),
    109: ("it did not switch between programs in time", "reset"),
    119: ("its system processor (GSP) did not answer", "reset"),
    120: ("its system processor (GSP) failed", "reset"),
    154: ("the driver asks for it to be recovered", "reset"),
}
UNKNOWN: tuple[str, Remedy] = ("see NVIDIA's list of Xid errors", "look")

DAY_S = 86_400.0
# A program's mistake tells little of the card, and less every day.
RECENT_S: dict[Remedy, float] = {"none": DAY_S, "look": 7 * DAY_S}


def check_xid(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Recent errors of the chosen cards; programs' own mistakes are told, not warned about."""
    cards = needs.choice.devices if needs.choice else ()
    ill = [card for card in cards if _recent(card, node.now_s)]
    if not ill:
        return None
    said = "; ".join(f"GPU {card.index}: {_told(card, node.now_s)}" for card in ill)
    codes = sorted({xid.code for card in ill for xid in _recent(card, node.now_s)})
    measured = ", ".join(f"Xid {code}" for code in codes)
    worst = max((_remedy(code) for code in codes), key=REMEDIES.index)
    if worst == "none":
        return ok("xid", said, measured=measured)
    sick = [
        str(card.index)
        for card in ill
        if any(_remedy(xid.code) == worst for xid in _recent(card, node.now_s))
    ]
    return warning("xid", said, _hint(worst, ",".join(sick)), measured=measured, wanted="none")


def _hint(worst: Remedy, cards: str) -> str:
    if worst == "restart":
        return (
            "Switch the machine off and on before you trust it; if it falls off again, "
            f"reseat or replace it. Until then: `--exclude-gpu {cards}`."
        )
    if worst == "reset":
        return (
            f"Reset it before you trust it: `sudo nvidia-smi --gpu-reset -i {cards}`, "
            f"with nothing running on it. Until then: `--exclude-gpu {cards}`."
        )
    return f"`nvidia-smi -q -d ECC,ROW_REMAPPER -i {cards}` shows the state of its memory."


def _told(card: Device, now_s: float | None) -> str:
    """Each code once: how often, what it means, when last."""
    recent = _recent(card, now_s)
    times = Counter(xid.code for xid in recent)
    return ", ".join(
        f"Xid {code}{f' ({count} times)' if count > 1 else ''}, "
        f"{MEANINGS.get(code, UNKNOWN)[0]}{_ago(recent, code, now_s)}"
        for code, count in times.items()
    )


def _recent(card: Device, now_s: float | None) -> list[Xid]:
    return [
        xid
        for xid in card.xids or ()
        if now_s is None or now_s - xid.at_s <= RECENT_S.get(_remedy(xid.code), RECENT_S["look"])
    ]


def _remedy(code: int) -> Remedy:
    return MEANINGS.get(code, UNKNOWN)[1]


def _ago(xids: Iterable[Xid], code: int, now_s: float | None) -> str:
    if now_s is None:
        return ""
    passed = max(0.0, now_s - max(xid.at_s for xid in xids if xid.code == code))
    for unit, seconds in (("d", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if passed >= seconds:
            return f" ({passed // seconds:.0f} {unit} ago)"
    return " (just now)"
