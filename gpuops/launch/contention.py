"""A launch among those that want the same GPUs and ports."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from signal import SIGINT, Signals

from gpuops.core.launch import queue
from gpuops.core.launch.choice import why_in_use
from gpuops.core.launch.queue import Ticket
from gpuops.core.machine.device import Claim, Device
from gpuops.errors import GpuopsError
from gpuops.system import claims
from gpuops.system.claims import Claims, TakenError

BEGIN_S = 10.0
"""How long a launch that waits may take to begin once its GPUs are free."""
TRIES = 20


class Contention:
    """What a launch holds, its place in the queue, and what it knows of the others.

    ``tell``: shows a sentence to the person who waits.
    """

    def __init__(self, tell: Callable[[str], None] = lambda _sentence: None) -> None:
        self.tell = tell
        self.claims = Claims()
        self.ticket: Ticket | None = None
        self._lost: Counter[str] = Counter()
        self._taken: dict[str, Claim] = {}
        self._could_begin_s: dict[int, float] = {}  # since when, by the number of the ticket
        self.first: tuple[Ticket, ...] = ()
        """The launches in the line read last that could begin now, or be passed over soon."""

    def others_claims(self) -> dict[str, Claim]:
        """What others hold, by name. What this run holds is its own, whatever a file says."""
        known = {**claims.holders(), **self._taken}
        return {name: claim for name, claim in known.items() if name not in self.claims.names}

    def line(self, devices: Sequence[Device]) -> list[Ticket]:
        """The launches that wait, without those that could have begun for a while and have not.

        Those are stopped, or do not want GPUs at all: a file says that they wait.
        """
        mine = self.ticket.number if self.ticket is not None else None
        waiting = queue.served(claims.queue(), [device.uuid for device in devices])
        free = [device.uuid for device in devices if why_in_use(device) is None]
        others = [uuid for uuid in free if claims.gpu(uuid or "") not in self.claims.names]
        now_s, since_s = time.monotonic(), self._could_begin_s
        could = {ticket.number for ticket in queue.served(waiting, others)} - {mine}
        self._could_begin_s = {number: since_s.get(number, now_s) for number in could}
        passed = {n for n, s in self._could_begin_s.items() if now_s - s >= BEGIN_S}
        self.first = tuple(one for one in waiting if one.number in could - passed)
        return [ticket for ticket in waiting if ticket.number not in passed]

    def awaited(self, line: Sequence[Ticket]) -> frozenset[str]:
        """The GPUs that belong to launches that came before this one; never what it holds."""
        uuids = queue.awaited(line, self.ticket)
        return frozenset(uuid for uuid in uuids if claims.gpu(uuid) not in self.claims.names)

    def lost(self, taken: TakenError) -> None:
        """Another launch was faster. The second time for one name, it counts as held.

        Raises:
            TakenError: this launch has lost too often.
        """
        self._lost[taken.name] += 1
        if self._lost[taken.name] > 1:
            self._taken[taken.name] = taken.claim
        if self._lost.total() >= TRIES:
            raise taken

    def forget_lost(self) -> None:
        """Time has passed: what was lost may be free again."""
        self._lost.clear()
        self._taken.clear()


class WaitEndedError(GpuopsError):
    """A signal ended a launch that waited for GPUs."""

    def __init__(self, number: int, left: str) -> None:
        who = "Ctrl-C" if number == SIGINT else Signals(number).name
        super().__init__(f"{who} ended the wait for GPUs: {left}nothing was started.")
        self.exit_code = 128 + number


@contextmanager
def ended_by_signal(left: str = "") -> Iterator[None]:
    """A wait that Ctrl-C ends, or the handler of another signal that raises the same.

    ``left``: what the launch gives up with it.

    Raises:
        WaitEndedError: a signal ended it.
    """
    try:
        yield
    except KeyboardInterrupt as end:
        number = end.args[0] if end.args else SIGINT
        raise WaitEndedError(number, left) from None
