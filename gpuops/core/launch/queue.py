"""The queue of launches that wait for GPUs, and which GPUs a later launch must leave to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpuops.core.machine.device import Claim
from gpuops.text import many


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A launch that waits: for how many of which GPUs (UUIDs), since when (``number``, ns)."""

    number: int
    uuids: tuple[str, ...]
    count: int
    claim: Claim


def describe_first(line: Sequence[Ticket], within_s: float) -> str:
    """What a launch waits for if others in the line could begin now; they have ``within_s`` to."""
    users = ", ".join(sorted({ticket.claim.user or "another user" for ticket in line}))
    came = f"{many(len(line), 'launch')} in the queue (of {users})"
    return f"{came} could begin now: waiting up to {within_s:.0f} s, then it is passed over."


def served(line: Sequence[Ticket], uuids: Collection[str | None]) -> list[Ticket]:
    """The launches that can be served with some GPUs; the others can not, however long they wait.

    With all GPUs of a host: those to believe. With the free ones: those that could begin now.
    """
    return [ticket for ticket in line if ticket.count <= len({*uuids}.intersection(ticket.uuids))]


def awaited(line: Sequence[Ticket], mine: Ticket | None = None) -> frozenset[str]:
    """The GPUs that belong to launches that came before ``mine``: first come, first served.

    These are all that they could take, not only as many as they want: it is not known which will
    be free first, and a job of eight GPUs would wait for ever if small jobs could overtake it.
    """
    earlier = [ticket for ticket in line if mine is None or ticket.number < mine.number]
    return frozenset(uuid for ticket in earlier for uuid in ticket.uuids)
