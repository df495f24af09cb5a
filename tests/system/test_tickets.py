"""Places in the queue for GPUs: files that all users see, and that go with their launch."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from own_claims import ME, A, B, end

from gpuops.system import claims, lock_files

CLOCK_OF_FILES = 5  # CLOCK_REALTIME_COARSE
WAITER = """
import time
from gpuops.system import claims
with claims.wait_in_line(["x"], 1, claims.own_claim("r", "/r")):
    print("waits", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize("count", [0, -1, 3, 10**300, "2", None, 1.5])
def test_a_ticket_that_can_never_be_served_is_not_one(place, count):
    """It wants nothing, or more GPUs than it names."""
    with claims.wait_in_line([A], 1, ME):
        (path,) = place.glob("wait-*")
        path.write_text(json.dumps({"uuids": [A, A, B], "count": count}))

        assert claims.queue() == []


def test_a_long_ticket_is_read_whole():
    """Sixty-four GPUs, and a run in the deepest of folders."""
    uuids = [f"GPU-{number:036}" for number in range(64)]
    deep = claims.own_claim("rvq-1", "/é" * 2000)
    with claims.wait_in_line(uuids, 64, deep):
        (ticket,) = claims.queue()

    assert (ticket.uuids, ticket.count) == (tuple(uuids), 64)


def test_the_line_is_seen_by_all_and_first_comes_first():
    """Each with what it waits for; who leaves is gone."""
    with claims.wait_in_line([A, B], 2, ME) as first:
        with claims.wait_in_line([B], 1, ME) as second:
            assert claims.queue() == [first, second]
            assert (first.uuids, first.count) == ((A, B), 2)
            assert (first.claim.run_id, first.claim.pid) == (ME.run_id, ME.pid)
        assert claims.queue() == [first]

    assert claims.queue() == []


def test_who_is_killed_while_waiting_waits_no_more(place):
    """What it left is not a ticket; the next to come sweeps it up."""
    waiter = subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout.readline() == "waits\n"
    assert [ticket.count for ticket in claims.queue()] == [1]
    end(waiter)
    (left,) = place.glob("wait-*")

    assert claims.queue() == []
    with claims.wait_in_line([A], 1, ME):
        assert not left.exists()


def test_a_place_in_the_line_is_not_before_the_ticket_was_made():
    """Whatever its name says."""
    with claims.wait_in_line([A], 1, ME) as first, claims.wait_in_line([A], 1, ME) as second:
        paths = {ticket.claim.file: ticket for ticket in (first, second)}
        while time.clock_gettime_ns(CLOCK_OF_FILES) <= second.number:
            pass  # it ticks every few milliseconds
        forged = lock_files.make("wait-1", {"uuids": [A], "count": 1})

        assert [paths.get(ticket.claim.file) for ticket in claims.queue()] == [first, second, None]
        forged.release()
