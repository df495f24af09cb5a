"""First come, first served."""

from __future__ import annotations

from gpuops.core.launch.queue import Ticket, awaited, served
from gpuops.core.machine.device import Claim


def ticket(number, *uuids, count=1):
    """Somebody who waits."""
    return Ticket(number=number, uuids=uuids, count=count, claim=Claim())


def test_a_newcomer_leaves_alone_what_anybody_waits_for():
    """Who does not stand in the line is behind all of it."""
    assert {"a", "b", "c"} == awaited([ticket(1, "a", "b"), ticket(2, "b", "c")])


def test_who_waits_is_behind_those_before_and_before_those_behind():
    """The second may take what the first does not want."""
    first, second, third = ticket(1, "a"), ticket(2, "a", "b"), ticket(3, "b", "c")
    line = [first, second, third]

    assert set() == awaited(line, first)
    assert {"a"} == awaited(line, second)
    assert {"a", "b"} == awaited(line, third)


def test_who_wants_more_than_there_is_cannot_be_served():
    """With the GPUs of the host: never. With the free ones: not now."""
    one, two, forged = (
        ticket(1, "a", "b"),
        ticket(2, "a", "b", count=2),
        ticket(3, "x", "a", count=2),
    )
    line = [one, two, forged]

    assert served(line, ["a", "b", None]) == [one, two]
    assert served(line, ["b"]) == [one]
    assert served(line, []) == []
