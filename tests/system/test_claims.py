"""Claims on GPUs: kernel locks that all users see, and that go with their holder."""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from own_claims import ME, A, B, C, elsewhere, end, file_of, holding

from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError
from gpuops.system import claims, lock_files
from gpuops.system.claims import Claims, TakenError

LOOKER = """
from gpuops.system import claims
print("looks", flush=True)
while True:
    claims.holders()
"""

pytestmark = pytest.mark.usefixtures("place")


def test_a_gpu_is_held_once():
    """Who comes second is told, and holds nothing of what was asked for."""
    with holding(A, B):
        with pytest.raises(TakenError, match=f"{B} was claimed"), holding(B, C):
            pytest.fail("it was held")
        with holding(C):
            assert set(claims.holders()) == {A, B, C}

    assert claims.holders() == {}


def test_a_port_is_held_like_a_gpu():
    """Two launches at the same instant do not meet at one rendezvous."""
    with holding(claims.port(29501), A):
        with pytest.raises(TakenError), holding(claims.port(29501)):
            pytest.fail("it was held")

        assert set(claims.holders()) == {A, "port-29501"}


def test_all_or_none():
    """A claim that fails half-way leaves nothing behind."""
    with holding(B):
        with pytest.raises(TakenError), holding(A, B):
            pytest.fail("it was held")

        assert set(claims.holders()) == {B}


def test_a_claim_says_who_since_when_and_for_which_run(place):
    """What `gpuops gpus` shows."""
    with holding(A):
        claim = claims.holders()[A]

        assert (claim.run_id, claim.run_dir, claim.pid) == ("rvq-1", "/runs/rvq-1", os.getpid())
        assert (claim.user, claim.ours) == (getpass.getuser(), True)
        assert claim.since_s == pytest.approx(time.time(), abs=60)
        assert claim.file == str(file_of(place, A))


def test_what_is_claimed_next_is_held_before_the_rest_is_let_go():
    """A run that loses a GPU holds the others all the time."""
    with holding(A, B) as held:
        held.add([B, C], ME)
        assert set(claims.holders()) == held.names == {A, B, C}
        held.keep([B, C])
        assert set(claims.holders()) == held.names == {B, C}
        with holding(A), pytest.raises(TakenError):
            held.add([A], ME)
        assert set(claims.holders()) == {B, C}


def test_the_kernel_frees_what_a_killed_holder_held(place):
    """However it dies: nobody has to clean up."""
    holder = elsewhere(A, B)
    try:
        assert {uuid: claim.run_id for uuid, claim in claims.holders().items()} == {
            A: "theirs",
            B: "theirs",
        }
        with pytest.raises(TakenError), holding(B):
            pytest.fail("it was held")
    finally:
        end(holder)

    with holding(A, B):
        assert claims.holders()[A].run_id == "rvq-1"
    assert list(place.iterdir()) == []


def test_who_inherits_the_descriptors_holds_the_claim():
    """A launch may die: the job's reaper keeps the GPUs."""
    child = inheriting(A)

    assert set(claims.holders()) == {A}
    end_of_input(child)
    assert claims.holders() == {}


def inheriting(name):
    """A process that holds what its parent, which let go of it, has claimed."""
    with holding(name) as held:
        return subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=held.descriptors,
        )


def end_of_input(child):
    child.stdin.close()
    child.wait()


def test_an_adopted_claim_outlives_the_process_that_held_it(place):
    """Another supervisor holds what the reaper holds; those of other runs it leaves alone."""
    child = inheriting(A)
    with holding(B, claim=claims.own_claim("other", "/runs/other")), holding() as held:
        held.adopt(ME, None)
        assert held.names == {A}
        end_of_input(child)
        with pytest.raises(TakenError), holding(A):
            pytest.fail("it was held")
        assert claims.holders()[A].run_id == "rvq-1"

    assert claims.holders() == {}
    assert list(place.iterdir()) == []


def test_a_claim_that_says_nothing_is_adopted_from_its_holder(monkeypatch):
    """On a full disk a lock counts, and says nothing."""
    with monkeypatch.context() as full:
        full.setattr(claims, "_record", lambda _: {})
        child = inheriting(A)
    with holding(B, claim=claims.own_claim("other", "/runs/other")), holding() as held:
        held.adopt(ME, child.pid)
        assert held.names == {A}
        end_of_input(child)
        assert claims.holders()[A].run_id == "rvq-1"


def test_looking_never_stands_in_the_way():
    """Who looks takes no lock: a claim at the same moment succeeds."""
    watcher = subprocess.Popen([sys.executable, "-c", LOOKER], stdout=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout.readline() == "looks\n"
        for _ in range(100):
            with holding(A):
                pass
    finally:
        end(watcher)


def test_launches_at_the_same_instant_never_hold_the_same(monkeypatch):
    """Of overlapping wishes one is served at a time, and each in the end."""
    monkeypatch.setattr(claims, "DECIDE_S", 30.0)
    wishes = [[A, B], [B, C], [C, A], [A, B, C]]
    held, clashes, served = set(), [], []

    def launch(wish):
        for _ in range(10):
            while True:
                mine = Claims()
                try:
                    mine.add(wish, ME)
                    break
                except TakenError:
                    time.sleep(0.001)
            clashes.extend(held.intersection(wish))
            held.update(wish)
            time.sleep(0)
            held.difference_update(wish)
            served.append(wish)
            mine.close()

    threads = [threading.Thread(target=launch, args=(wish,)) for wish in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert clashes == []
    assert len(served) == 40
    assert claims.holders() == {}


def test_who_never_decides_holds_what_it_locks(monkeypatch):
    """A process that was stopped while it claimed: nobody waits for it for ever."""
    monkeypatch.setattr(claims, "DECIDE_S", 0.05)
    stopped = lock_files.make(A, {"run_id": "stopped"})
    with pytest.raises(TakenError) as taken, holding(A):
        pytest.fail("it was held")

    assert taken.value.claim.run_id == "stopped"
    assert set(claims.holders()) == {A}
    stopped.release()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 60000,
        "\udc80",
        '{"pid": "me", "user": "root", "since_s": 1.0}',
        '{"pid": -1, "since_s": Infinity}',
        '{"run_id": 7, "run_dir": null}',
        "x" * 100000,
    ],
)
def test_a_claim_without_readable_content_is_a_claim(place, text):
    """Held is held, by the file's owner; what makes no sense is not shown."""
    with holding(A):
        path = file_of(place, A)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        claim = claims.holders()[A]

        since_s = path.stat().st_ctime_ns / 1e9
        assert claim == Claim(user=getpass.getuser(), ours=True, since_s=since_s, file=str(path))


def test_what_a_holder_says_cannot_play_with_the_terminal(place):
    """Another user wrote it: no escapes, no second line, and not without end."""
    record = {"user": "x", "run_id": "\u202er" + "x" * 5000, "run_dir": "\x9b2J\n"}
    with holding(A):
        file_of(place, A).write_text(json.dumps(record))
        claim = claims.holders()[A]
    with claims.wait_in_line([A], 1, ME) as ticket:
        (path,) = place.glob("wait-*")
        path.write_text(json.dumps({**record, "uuids": ["\x1b[2J", [7], A], "count": 2}))
        (seen,) = claims.queue()

    assert (claim.user, claim.run_dir) == (getpass.getuser(), "?2J?")
    assert (claim.run_id[:2], len(claim.run_id)) == ("?r", 100)
    assert (seen.claim.run_id, seen.claim.user) == (claim.run_id, claim.user)
    assert (seen.uuids, seen.count) == (("?[2J", A), 2)
    assert ticket.uuids == (A,)


def test_a_claim_holds_where_there_is_no_room_for_words(place, monkeypatch):
    """The kernel keeps the lock; a ticket without words would be none, and is refused."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with holding(A):
        assert claims.holders()[A].user == getpass.getuser()
    with pytest.raises(GpuopsError, match="No space left") as refused:
        claims.wait_in_line([A], 1, ME).__enter__()

    assert "df " in refused.value.hint
    assert claims.queue() == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("module", "call"), [(fcntl, "fcntl"), (os, "open")])
def test_a_folder_that_takes_no_locks_is_told(monkeypatch, module, call):
    """A file system that knows none, or is full: a sentence, and nothing is held."""
    claims.folder()

    def fails(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, call, fails)
    with pytest.raises(GpuopsError, match="No locks available: nothing was started"):
        Claims().add([A], ME)


def test_looking_makes_nothing(place):
    """The folder is made by the first who claims."""
    assert (claims.holders(), claims.queue(), claims.why_not_shared()) == ({}, [], None)
    assert not place.exists()
    with holding():
        assert not place.exists()
    with holding(A):
        assert place.exists()


@pytest.mark.parametrize("name", ["wait-x-1.lock", "wait-.lock", "wait-12.lock", "gpu-.lock"])
def test_odd_files_in_the_folder_are_nothing(place, name):
    """Whatever lies there, looking does not end in a traceback."""
    claims.folder()
    (place / name).write_text(json.dumps({"uuids": 3, "count": "many"}))

    assert (claims.queue(), claims.holders()) == ([], {})
