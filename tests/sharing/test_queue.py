"""Launches of several users that wait: who is believed, who is served, who is passed over."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from claiming import A, B, another, ask, holds, host, indices, launched, lay, waits

from gpuops.launch import contention as contentions
from gpuops.launch import prepare as preparing
from gpuops.launch.claim import claim_gpus
from gpuops.launch.contention import Contention, WaitEndedError
from gpuops.launch.inventory import with_claims
from gpuops.launch.prepare import prepare
from gpuops.system import claims
from gpuops.system.gpus import nvml

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users"),
    pytest.mark.usefixtures("place"),
]


def test_a_tickets_user_is_its_files_owner():
    """Not who it says."""
    with another(B, waits(["x"], 1, user="root", pid=1, since_s=1.0)):
        (ticket,) = claims.queue()

    assert (ticket.claim.user, ticket.claim.ours) == (str(B), False)
    assert ticket.claim.since_s == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("kind", ["0600", "FIFO", "link", "folder"])
def test_what_is_not_a_ticket_reserves_nothing(place, kind):
    """No more than one that is not held."""
    with another(B, lambda: lay(place / "wait-1.lock", kind)):
        assert ask(A, lambda: len(claims.queue())) == 0


def test_a_ticket_that_could_begin_and_does_not_is_passed_over(options, monkeypatch):
    """A process that was stopped, or only says that it waits."""
    uuids = host(monkeypatch)
    monkeypatch.setattr(contentions, "BEGIN_S", 0.05)
    monkeypatch.setattr(preparing, "POLL_S", 0.01)
    with another(B, waits(uuids, 8)), another(A, waits(uuids, 1)), launched(options) as (_, plan):
        assert indices(plan) == [0, 1]


def test_a_launch_says_at_once_for_whom_it_waits(options, monkeypatch):
    """Not after the time in which the others may begin; Ctrl-C ends this wait with a sentence."""
    uuids = host(monkeypatch)

    def tell(sentence):
        told.append(sentence)
        monkeypatch.setattr(preparing.time, "sleep", interrupt)

    def interrupt(_seconds):
        raise KeyboardInterrupt

    told = []
    with another(B, waits(uuids, 8)), pytest.raises(WaitEndedError) as ended:
        prepare(options, Contention(tell))

    waits_for = f"1 launch in the queue (of {B}) could begin now"
    assert told == [f"{waits_for}: waiting up to 10 s, then it is passed over."]
    assert ended.value.message == "Ctrl-C ended the wait for GPUs: nothing was started."
    assert ended.value.exit_code == 130


def test_a_ticket_that_cannot_begin_yet_keeps_its_place(options, monkeypatch):
    """One of its GPUs is in use: the others are not given away, however long it waits."""
    uuids = host(monkeypatch)
    monkeypatch.setattr(contentions, "BEGIN_S", 0.0)
    with another(A, holds(claims.gpu(uuids[7]))), another(B, waits(uuids, 8)):
        assert prepare(options).short


def test_a_ticket_for_gpus_that_are_not_here_reserves_nothing(options, monkeypatch):
    """It could be served never."""
    uuids = host(monkeypatch)
    with another(B, waits([*uuids, "GPU-forged"], 9)):
        assert not prepare(options).short


def test_the_launch_in_line_is_served_after_one_that_does_not_begin(options, monkeypatch):
    """Who waits passes over it too."""
    uuids = host(monkeypatch)
    monkeypatch.setattr(contentions, "BEGIN_S", 0.05)
    monkeypatch.setattr("gpuops.launch.claim.POLL_S", 0.01)
    monkeypatch.setattr(nvml.Reader, "read", lambda *_: nvml.read())
    contention = Contention()
    with another(B, waits(uuids, 8)):
        with another(A, holds(claims.gpu(uuids[7]))):
            prepared = prepare(replace(options, wait_s=30.0))
            assert prepared.short
        plan = claim_gpus(prepared, contention, print, print).launch.plan
    contention.claims.close()

    assert indices(plan) == [0, 1]


def test_what_this_run_holds_is_never_promised_to_others(monkeypatch):
    """Nor does it look as if the next in line could begin on it."""
    uuids = host(monkeypatch)
    contention = Contention()
    contention.claims.add([claims.gpu(uuids[0])], claims.own_claim("r", "/r"))
    with another(B, waits(uuids[:2], 2)):
        devices = with_claims(nvml.read(), contention).devices
        assert contention.awaited(contention.line(devices)) == {uuids[1]}
        assert not contention.first
    contention.claims.close()
