"""Claims of several users: what is held stays held, and nothing of another stops us."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import time

import pytest
from claiming import GPU, HELD, OTHER, A, B, another, ask, held_file, holds, host, lay

from gpuops.core.launch.choice import why_not_free
from gpuops.launch.inventory import read_gpus
from gpuops.system import claims, lock_files
from gpuops.system.claims import Claims, TakenError
from gpuops.system.gpus import nvml

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users"),
    pytest.mark.usefixtures("place"),
]


def test_another_user_sees_and_respects_a_claim():
    """And may claim what is free, also after the first has had it."""
    with another(A, holds(GPU)) as first:
        assert first == "held"
        assert ask(B, holds(GPU)) == f"{GPU} was claimed a moment ago by {A}."
        assert ask(B, lambda: sorted([*claims.holders(), holds(OTHER)()])) == [GPU, "held"]
    assert ask(B, holds(GPU)) == "held"


@pytest.mark.parametrize("harm", ["write", "empty", "delete", "replace", "read lock", "open it up"])
def test_nobody_else_can_touch_a_claim(place, harm):
    """It is held, by the same user, whatever another user tries."""
    with another(A, holds(GPU)) as first:
        (path,) = place.glob(f"{GPU}.*")

        def act():
            if harm == "write":
                path.open("r+b")
            elif harm == "empty":
                os.truncate(path, 0)
            elif harm == "delete":
                path.unlink()
            elif harm == "replace":
                mine = place / "mine"
                mine.touch()
                mine.rename(path)
            elif harm == "open it up":
                path.chmod(0o666)
            else:
                lock = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 2, 9, 0)
                fcntl.fcntl(path.open("rb"), fcntl.F_OFD_SETLK, lock)
                raise PermissionError  # it could, and that changes nothing

        assert (first, ask(B, act)) == ("held", "PermissionError")
        assert claims.holders()[GPU].user == str(A)
        assert claims.holders()[GPU].run_id == "theirs"


def test_a_lock_for_reading_neither_holds_nor_hinders(place):
    """Any user can take one on any file that he can read."""
    with another(A, holds(GPU)):
        (path,) = place.glob(f"{GPU}.*")

    def act():
        file = path.open("rb")
        HELD.append(file)
        whole = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, whole)
        return "locked"

    with another(B, act) as said:
        assert said == "locked"
        assert claims.holders() == {}
        assert ask(A, holds(GPU)) == "held"


def test_two_users_never_hold_the_same(place):
    """Four processes of two users at the same instant, round after round."""
    marks = place.parent / "marks"
    marks.mkdir()
    marks.chmod(0o1777)
    go_read, go_write = os.pipe()

    def act():
        os.read(go_read, 1)
        wins = 0
        while wins < 15:
            held = Claims()
            try:
                held.add([GPU, OTHER][: 1 + wins % 2], claims.own_claim("r", "/r"))
            except TakenError:
                time.sleep(0.001)
                continue
            (marks / GPU).mkdir()  # fails if another has it
            (marks / GPU).rmdir()
            held.close()
            wins += 1
        return wins

    with contextlib.ExitStack() as stack:
        for uid in (A, A, B):
            stack.callback(end_of(uid, act))
        os.write(go_write, b"gogo")
        assert ask(B, act) == 15
    assert claims.holders() == {}


def end_of(uid, act):
    """A process that runs on its own; its answer is checked at the end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(writer, json.dumps(ask(uid, act)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)

    def check():
        with os.fdopen(reader) as answer:
            said = answer.read()
        os.waitpid(child, 0)
        assert said == "15"

    return check


@pytest.mark.parametrize("kind", ["0600", "FIFO", "link", "folder"])
@pytest.mark.parametrize("name", [GPU, claims.port(29501), f"{GPU}.{A}.1"])
def test_an_unusable_lock_is_in_use_by_its_owner(place, kind, name):
    """Others take another GPU or port; the words name owner, file, and what removes it."""
    path = place / f"{name}.lock"
    thing = name.partition(".")[0]
    with another(B, lambda: lay(path, kind)):
        words = ask(A, lambda: str(claims.holders()[thing]))
        assert ask(A, holds(thing)) == f"{thing} was claimed a moment ago by {B}."
        assert ask(A, holds(OTHER, claims.port(29502))) == "held"

    assert words.startswith(f"is in use by {B}: its lock ")
    assert f"`sudo rm{' -r' if kind == 'folder' else ''} {path}`" in words


def test_a_folder_full_of_files_is_read_up_to_a_bound(place, monkeypatch):
    """It is said; and what lies beyond the bound is still respected by a launch."""
    monkeypatch.setattr(lock_files, "MOST", 20)
    looked_at = []
    look = lock_files.look
    monkeypatch.setattr(lock_files, "look", lambda path: looked_at.append(path) or look(path))
    with another(A, holds(GPU)):
        for number in range(200):
            (place / f"gpu-{number}.lock").touch()
        claims.holders()

        assert len(looked_at) <= 20
        assert claims.why_not_shared() == (
            f"{place} holds more than 20 files: not all claims in it are seen"
        )
        assert ask(B, holds(GPU)) == f"{GPU} was claimed a moment ago by {A}."
        assert ask(B, holds(OTHER)) == "held"


def test_files_of_one_name_that_are_too_many_to_look_at_count_as_held(place, monkeypatch):
    """By the owner of one of them; other GPUs are free."""
    monkeypatch.setattr(lock_files, "MOST", 20)

    def fill():
        for number in range(30):
            (place / f"{GPU}.{number}.lock").touch()

    with another(A, fill):
        assert ask(B, holds(GPU)) == f"{GPU} was claimed a moment ago by {A}."
        assert ask(B, holds(OTHER)) == "held"


def test_the_owner_shown_is_the_files(place):
    """Whatever it says of user, pid and time; and what it says of a run is only shown."""
    record = {"user": "root", "pid": 1, "since_s": 1.0, "run_dir": "/runs/of-another"}

    def act():
        held_file(place, GPU).write_text(json.dumps(record))

    with another(B, act):
        claim = claims.holders()[GPU]

    assert (claim.user, claim.ours) == (str(B), False)
    assert claim.since_s == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("text", ["", "{", '{"run_dir": null}', " " * 70000])
def test_a_held_gpu_that_says_nothing_is_shown_in_use(place, monkeypatch, text):
    """Also to the run of nobody that preflight asks for."""
    host(monkeypatch)
    uuid = nvml.read().devices[0].uuid
    with another(B, lambda: held_file(place, claims.gpu(uuid)).write_text(text)):
        first, second, *_ = read_gpus().devices

    assert why_not_free(first) == f"is held by another gpuops run of {B}"
    assert second.claim is None
