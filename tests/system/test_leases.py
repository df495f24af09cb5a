"""Claims on GPUs: kernel locks that all users see, and that go with their holder."""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gpuops.core.machine.device import Claim
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import leases
from gpuops.system.leases import TakenError

A, B, C = (leases.gpu(f"GPU-{letter * 8}-0000") for letter in "abc")
ME = leases.own_claim("rvq-1", "/runs/rvq-1")

HOLDER = """
import sys, time
from gpuops.system import leases
with leases.acquire(sys.argv[1:], leases.own_claim("theirs", "/runs/theirs")):
    print("held", flush=True)
    time.sleep(60)
"""

LOOKER = """
from gpuops.system import leases
print("looks", flush=True)
while True:
    leases.holders()
"""
WAITER = """
import time
from gpuops.system import leases
with leases.wait_in_line(["x"], 1, leases.own_claim("r", "/r")):
    print("waits", flush=True)
    time.sleep(60)
"""
NOBODY = 65534


@pytest.fixture(name="place", autouse=True)
def _place(tmp_path, monkeypatch):
    """A folder of claims of this test's own."""
    place = tmp_path / "claims"
    monkeypatch.setenv(leases.VARIABLE, str(place))
    return place


def elsewhere(*uuids):
    """Another process that holds GPUs."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *uuids], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_gpu_is_held_once():
    """Who comes second is told, and holds nothing of what was asked for."""
    with leases.acquire([A, B], ME):
        with pytest.raises(TakenError, match=f"{B} was claimed"), leases.acquire([B, C], ME):
            pytest.fail("it was held")
        with leases.acquire([C], ME):
            assert set(leases.holders()) == {A, B, C}

    assert leases.holders() == {}


def test_a_port_is_held_like_a_gpu():
    """Two launches at the same instant do not meet at one rendezvous."""
    with leases.acquire([leases.port(29501), A], ME):
        with pytest.raises(TakenError), leases.acquire([leases.port(29501)], ME):
            pytest.fail("it was held")

        assert set(leases.holders()) == {A, "port-29501"}


def test_all_or_none():
    """A claim that fails half-way leaves nothing behind."""
    with leases.acquire([B], ME):
        with pytest.raises(TakenError), leases.acquire([A, B], ME):
            pytest.fail("it was held")

        assert set(leases.holders()) == {B}


def test_a_claim_says_who_since_when_and_for_which_run():
    """What `gpuops gpus` shows."""
    with leases.acquire([A], ME):
        assert leases.holders() == {A: ME}
    assert (ME.user, ME.pid) == (getpass.getuser(), os.getpid())
    assert leases.own_claim("r", "/r").since_s == pytest.approx(time.time(), abs=60)


def test_the_kernel_frees_what_a_killed_holder_held():
    """However it dies: nobody has to clean up."""
    holder = elsewhere(A, B)
    try:
        assert {uuid: claim.run_id for uuid, claim in leases.holders().items()} == {
            A: "theirs",
            B: "theirs",
        }
        with pytest.raises(TakenError), leases.acquire([B], ME):
            pytest.fail("it was held")
    finally:
        end(holder)

    with leases.acquire([A, B], ME):
        assert leases.holders()[A].run_id == "rvq-1"


def test_who_inherits_the_descriptors_holds_the_claim():
    """A launch may die: the job's reaper keeps the GPUs."""
    with leases.acquire([A], ME) as held:
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=held,
        )

    assert set(leases.holders()) == {A}
    child.stdin.close()
    child.wait()
    assert leases.holders() == {}


def test_others_may_use_the_folder_and_its_files(place):
    """Whatever the umask of who comes first."""
    before = os.umask(0o077)
    try:
        with leases.acquire([A], ME):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    assert stat.S_IMODE((place / f"{A}.lock").stat().st_mode) == 0o666


def test_looking_never_stands_in_the_way():
    """Who looks takes no lock: a claim at the same moment succeeds."""
    watcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            LOOKER,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watcher.stdout.readline() == "looks\n"
        for _ in range(300):
            with leases.acquire([A], ME):
                pass
    finally:
        end(watcher)


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "folder", "pipe"])
def test_what_is_no_plain_file_is_refused(place, tmp_path, kind):
    """Nothing is written through a link that somebody laid, and nobody hangs on a pipe."""
    leases.folder()
    target, lock = tmp_path / "precious", place / f"{A}.lock"
    target.write_text("precious")
    if kind == "hard link":
        os.link(target, lock)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(target if kind == "link" else tmp_path / "nothing")

    with (
        pytest.raises(GpuopsError, match="nothing was started") as refused,
        leases.acquire([A], ME),
    ):
        pytest.fail("it was held")

    assert f"rm {lock}" in refused.value.hint
    assert target.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()
    assert leases.holders() == {}


def test_a_file_that_was_replaced_while_it_was_locked_counts_no_more(place):
    """A lock on what nobody finds any more keeps nobody out: so it is no claim."""
    lock = place / f"{A}.lock"
    with leases.acquire([A], ME):
        lock.unlink()
        with leases.acquire([A], ME):
            assert set(leases.holders()) == {A}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 60000,
        "\udc80",
        '{"pid": "me", "user": 7, "since_s": "now"}',
        '{"pid": -1, "since_s": Infinity}',
        '{"since_s": NaN}',
        '{"since_s": 1e300}',
        '{"since_s": -1e308}',
        '{"since_s": 9e12}',
    ],
)
def test_what_a_file_says_of_its_holder_is_not_believed_blindly(place, said):
    """Anybody can write it: held is held, and what makes no sense is not shown."""
    with leases.acquire([A], ME):
        (place / f"{A}.lock").write_bytes(said.encode("utf-8", "surrogateescape"))

        assert leases.holders() == {A: Claim()}


def test_what_a_holder_says_cannot_play_with_the_terminal(place):
    """Another user wrote it: no escapes, no second line, and not without end."""
    said = {"user": "\x1b[31mroot\x1b[0m\nx", "run_id": "\u202er" + "x" * 5000, "run_dir": "\x9b2J"}
    with leases.acquire([A], ME):
        (place / f"{A}.lock").write_text(json.dumps(said))
        claim = leases.holders()[A]
    with leases.wait_in_line([A], 1, ME) as ticket:
        (path,) = place.glob("wait-*")
        path.write_text(json.dumps({**said, "uuids": ["\x1b[2J", [7]], "count": 10**300}))
        (seen,) = leases.queue()

    assert (claim.user, claim.run_dir) == ("?[31mroot?[0m?x", "?2J")
    assert (claim.run_id[:2], len(claim.run_id)) == ("?r", 100)
    assert (seen.claim, seen.number) == (claim, ticket.number)
    assert (seen.uuids, seen.count) == (("?[2J",), 0)


def test_a_long_ticket_is_read_whole():
    """Sixty-four GPUs, and a run in the deepest of folders."""
    uuids = [f"GPU-{number:036}" for number in range(64)]
    deep = leases.own_claim("rvq-1", "/é" * 2000)
    with leases.wait_in_line(uuids, 64, deep):
        (ticket,) = leases.queue()

    assert (ticket.uuids, ticket.count) == (tuple(uuids), 64)


def test_a_claim_holds_where_there_is_no_room_for_words(monkeypatch):
    """The kernel keeps the lock; a ticket without words would be none, and is refused."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with leases.acquire([A], ME):
        assert leases.holders() == {A: Claim()}
    with pytest.raises(GpuopsError, match="No space left") as refused:
        leases.wait_in_line([A], 1, ME).__enter__()

    assert "df " in refused.value.hint
    assert leases.queue() == []


@pytest.mark.parametrize(("module", "call"), [(fcntl, "fcntl"), (os, "open")])
def test_a_folder_that_takes_no_locks_is_told(monkeypatch, module, call):
    """A file system that knows none, or is full: a sentence, and nothing is held."""
    leases.folder()

    def fails(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, call, fails)
    with pytest.raises(GpuopsError, match="No locks available: nothing was started"):
        leases.acquire([A], ME).__enter__()


def test_looking_makes_nothing(place):
    """The folder is made by the first who claims."""
    assert (leases.holders(), leases.queue(), leases.why_not_shared()) == ({}, [], None)
    assert not place.exists()
    with leases.acquire([], ME):
        assert not place.exists()
    with leases.acquire([A], ME):
        assert place.exists()


def test_a_private_folder_holds_claims_that_others_do_not_see(place):
    """It is said, and what can be claimed there is claimed."""
    place.mkdir(mode=0o700)

    assert f"{place} is not open to all (mode 0700)" in leases.why_not_shared()
    assert leases.why_none() is None
    with leases.acquire([A], ME):
        assert set(leases.holders()) == {A}


def test_a_folder_that_is_another_one_wherever_one_stands_is_refused(monkeypatch):
    """Two launches from two folders would not see each other."""
    monkeypatch.setenv(leases.VARIABLE, "rel")
    for look in (leases.holders, leases.queue, leases.why_not_shared, leases.folder):
        with pytest.raises(UsageError, match="GPUOPS_LEASE_DIR=rel"):
            look()


def as_nobody(act):
    """What another user of the machine gets to see; only root can become one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            said = str(act())
        except GpuopsError as problem:
            said = problem.message
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


@pytest.fixture(name="open_place")
def _open_place(monkeypatch):
    """A folder of claims that other users can reach; pytest's own they cannot."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        monkeypatch.setenv(leases.VARIABLE, str(root / "claims"))
        yield root / "claims"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_another_user_sees_and_respects_a_claim(open_place):
    """And may claim what is free, in the files that the first has made."""

    def takes(uuid):
        with leases.acquire([uuid], leases.own_claim("theirs", "/theirs")):
            return sorted(leases.holders())

    with leases.acquire([A], ME):
        pass
    with leases.acquire([B], ME):
        assert as_nobody(lambda: takes(B)) == f"{B} was claimed a moment ago."
        assert as_nobody(lambda: leases.holders()[B].run_id) == "rvq-1"
        assert as_nobody(lambda: takes(A)) == str([A, B])
        assert as_nobody(lambda: takes(C)) == str([B, C])
    with leases.acquire([C], ME):
        assert (open_place / f"{C}.lock").stat().st_uid == NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_a_folder_that_cannot_be_written_is_said(open_place):
    """With its path."""
    open_place.mkdir(mode=0o755)

    said = as_nobody(leases.why_not_shared)

    assert said.endswith(f"{open_place} cannot be written")


def test_a_place_that_is_no_safe_folder_is_said(tmp_path, monkeypatch):
    """A file, a link to elsewhere, a folder in which others may delete what is ours."""
    elsewhere_ = tmp_path / "elsewhere"
    elsewhere_.mkdir()
    link, file, unsticky = tmp_path / "link", tmp_path / "file", tmp_path / "unsticky"
    link.symlink_to(elsewhere_)
    file.touch()
    unsticky.mkdir()
    unsticky.chmod(0o777)
    said = {}
    for path in (link, file, unsticky, tmp_path / "no" / "such"):
        monkeypatch.setenv(leases.VARIABLE, str(path))
        said[path.name] = leases.why_not_shared()

    assert "is not a folder" in said["link"]
    assert "is not a folder" in said["file"]
    assert "sticky bit" in said["unsticky"]
    assert "cannot be made" in said["such"]


def test_the_line_is_seen_by_all_and_first_comes_first():
    """Each with what it waits for; who leaves is gone."""
    with leases.wait_in_line([A, B], 2, ME) as first:
        with leases.wait_in_line([B], 1, ME) as second:
            assert leases.queue() == [first, second]
            assert (first.uuids, first.count, first.claim) == ((A, B), 2, ME)
        assert leases.queue() == [first]

    assert leases.queue() == []


def test_who_is_killed_while_waiting_waits_no_more(place):
    """What it left is no ticket; the next to come sweeps it up."""
    waiter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            WAITER,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiter.stdout.readline() == "waits\n"
    assert [ticket.count for ticket in leases.queue()] == [1]
    end(waiter)
    (left,) = place.glob("wait-*")
    os.utime(left, (0, 0))

    assert leases.queue() == []
    with leases.wait_in_line([A], 1, ME):
        assert not left.exists()


@pytest.mark.parametrize("name", ["wait-x-1.lock", "wait-.lock", "wait-12.lock", "gpu-.lock"])
def test_odd_files_in_the_folder_are_nothing(place, name):
    """Whatever lies there, looking does not end in a traceback."""
    leases.folder()
    (place / name).write_text(json.dumps({"uuids": 3, "count": "many"}))

    assert (leases.queue(), leases.holders()) == ([], {})
