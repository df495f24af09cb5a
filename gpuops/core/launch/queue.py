"""Who waits for GPUs, and what that means for those who come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuops.core.machine.device import Claim

if TYPE_CHECKING:  # with it come the profiles, which who only looks does without
    from gpuops.core.launch.choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A launch that waits: for how many of which GPUs (UUIDs), since when (``number``, ns)."""

    number: int
    uuids: tuple[str, ...]
    count: int
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A look around while waiting: what is free, who stands before us, for how long now."""

    choice: Choice
    ahead: tuple[Ticket, ...]
    waited_s: float


def awaited(line: Sequence[Ticket], mine: Ticket | None = None) -> frozenset[str]:
    """The GPUs that belong to those who came before: first come, first served.

    All that they could take, not only as many as they want: which will be free first, nobody
    knows, and who may slip in before a job of eight GPUs lets it wait for ever.
    """
    earlier = [ticket for ticket in line if mine is None or ticket.number < mine.number]
    return frozenset(uuid for ticket in earlier for uuid in ticket.uuids)
