"""Claims and tickets of several users: what is held stays held, and nothing of another stops us."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import struct
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from gpuops.core.launch.choice import why_not_free
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.supervision.restart import Replan, Restart
from gpuops.errors import GpuopsError
from gpuops.launch import contention as contentions
from gpuops.launch import prepare as preparing
from gpuops.launch.claim import claim_gpus
from gpuops.launch.contention import Contention, WaitEndedError
from gpuops.launch.inventory import read_gpus, with_claims
from gpuops.launch.prepare import prepare
from gpuops.supervise import run as supervising
from gpuops.system import claims, lock_files
from gpuops.system.claims import Claims, TakenError
from gpuops.system.gpus import nvml, simulated
from gpuops.system.runs import run_dir

A, B = 60001, 60002
GPU, OTHER = claims.gpu("GPU-1"), claims.gpu("GPU-2")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")


@pytest.fixture(name="place", autouse=True)
def _place(monkeypatch):
    """A folder of claims that all users can reach; pytest's own they cannot."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv(claims.VARIABLE, f"{name}/claims")
        yield claims.folder()


@contextlib.contextmanager
def another(uid, act):
    """A process of another user that does something and then stays; what it answered, as JSON."""
    answer, stay = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(stay[1])
            leave_claims()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                said = act()
            except OSError as error:
                said = type(error).__name__
            except BaseException:  # noqa: BLE001 - the test shows it
                said = traceback.format_exc()
            os.write(answer[1], json.dumps(said).encode() + b"\n")
            os.read(stay[0], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(answer[1])
    os.close(stay[0])
    try:
        with os.fdopen(answer[0]) as lines:
            yield json.loads(lines.readline())
    finally:
        os.close(stay[1])
        os.waitpid(child, 0)


def leave_claims():
    """Hold nothing of what the process held that this one was forked from."""
    for open_file in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(open_file.readlink()).startswith(os.environ[claims.VARIABLE]):
                os.close(int(open_file.name))


def ask(uid, act):
    """What another user gets as an answer."""
    with another(uid, act) as said:
        return said


def holds(*names, run_dir="/theirs"):
    """Claims of the process that calls it, until that ends."""

    def act():
        held = Claims()
        try:
            held.add(names, claims.own_claim("theirs", run_dir))
        except TakenError as taken:
            return taken.message
        HELD.append(held)  # a garbage collector must not close it
        return "held"

    return act


HELD = []


def held_file(place, name):
    """Another program's lock: any content, any name."""
    path = place / f"{name}.lock"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    HELD.append(descriptor)
    whole = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
    return path


# ------------------------------------------------------------------------ what others cannot do


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


# --------------------------------------------------------------------- what others lay or pretend


def lay(path, kind):
    """Something in the place of a lock, which is not one."""
    if kind == "0600":
        path.touch(0o600)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/shadow")
    else:
        path.mkdir()


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


def host(monkeypatch, *changes):
    """A host of eight free GPUs, some of them changed; as values, without a driver."""
    inventory = simulated.read("8x4090")
    changed = dict(changes)
    devices = tuple(replace(one, **changed.get(one.index, {})) for one in inventory.devices)
    here = replace(inventory, devices=devices, simulated=None)
    monkeypatch.setattr(nvml, "read", lambda: here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # all of them are ours
    return [device.uuid for device in devices]


# ------------------------------------------------------------------------------------- launches


@pytest.fixture(name="options")
def _options(tmp_path, monkeypatch, workers, quick_python, own_port):
    """A launch of two GPUs on a host of eight."""
    monkeypatch.chdir(tmp_path)
    Path("profiles/2.yaml").write_text(
        f"name: '2'\ngpus: {{count: 2}}\ntorchrun: {{master_port: {own_port}}}\n"
    )
    host(monkeypatch)
    script = str(workers / "beats.py")
    return LaunchOptions(name=script, profile="2", python=quick_python, force=("torch",))


@contextlib.contextmanager
def launched(options):
    """A run that holds its GPUs and port, as its supervisor does between two attempts."""
    contention = Contention()
    first = claim_gpus(prepare(options), contention, print, print)
    run_dir.create(first.launch.plan)
    try:
        yield contention, first.launch.plan
    finally:
        contention.claims.close()


def next_attempt(plan, move, contention):
    prepared = prepare(supervising._next_options(plan, move), contention)
    return claim_gpus(prepared, contention, print, print).launch.plan


def indices(plan):
    return [device.index for device in plan.devices]


SAME, LESS = Restart(after_s=0, why=""), Replan(after_s=0, why="", halve_batch=True)


@pytest.mark.parametrize(
    ("move", "changes", "gpus"),
    [
        (SAME, {}, [0, 1]),
        (LESS, {}, [0, 1]),
        (Replan(after_s=0, why="", without_gpus=("1",)), {}, [0]),
        (SAME, {1: {"state": "lost", "fault": "it is lost"}}, [0]),
    ],
    ids=["killed or hung", "halved batch", "GPU excluded", "GPU lost"],
)
def test_what_a_run_holds_is_its_own_at_each_restart(
    options, monkeypatch, place, move, changes, gpus
):
    """Whoever waits for all eight; it lets go only of what it takes no longer."""
    uuids = host(monkeypatch)
    with launched(options) as (contention, plan):
        before = contention.claims.names
        with another(B, waits(uuids, 8)):
            host(monkeypatch, *changes.items())
            again = next_attempt(plan, move, contention)

            assert indices(again) == gpus
            assert contention.claims.names <= before
            assert set(claims.holders()) == contention.claims.names
            assert len(list(place.glob("gpu-*"))) == len(gpus)


def test_a_run_whose_port_is_taken_claims_another_before_it_lets_go(options, monkeypatch):
    """And its GPUs stay."""
    uuids = host(monkeypatch)
    with launched(options) as (contention, plan), another(B, waits(uuids, 8)):
        with socket.socket() as rival:
            rival.bind(("", plan.master_port))
            again = next_attempt(plan, SAME, contention)

        assert indices(again) == [0, 1]
        assert again.master_port != plan.master_port
        assert claims.port(again.master_port) in claims.holders()
        assert claims.port(plan.master_port) not in claims.holders()


def test_a_spare_gpu_goes_to_who_waited_for_it(options, monkeypatch):
    """Only what the run held is its own: it goes on with fewer."""
    uuids = host(monkeypatch)
    busy, waiter = holds(claims.gpu(uuids[7])), waits(uuids[2:], 6)
    with launched(options) as (contention, plan), another(A, busy), another(B, waiter):
        host(monkeypatch, (1, {"state": "lost", "fault": "it is lost"}))
        again = next_attempt(plan, SAME, contention)

    assert indices(again) == [0]


def waits(uuids, count, **record):
    """A process that waits for GPUs, or says so."""

    def act():
        text = {"uuids": list(uuids), "count": count, **record}
        HELD.append(lock_files.make("wait-1", text, whole=True))

    return act


def test_a_lock_that_names_ones_own_run_is_anothers(options, monkeypatch, place):
    """A launch that goes on with that run ends with a word on who holds the GPU."""
    uuids = host(monkeypatch)
    with launched(options) as (_, plan):
        pass
    record = json.dumps({"run_id": plan.run_id, "run_dir": plan.run_dir})
    with another(B, lambda: held_file(place, claims.gpu(uuids[0])).write_text(record)):
        resumed = prepare(LaunchOptions(resume=plan.run_dir, gpus=("0",), force=("torch",)))
        with pytest.raises(GpuopsError, match=f"GPU 0 is held by run .* of {B}"):
            claim_gpus(resumed, Contention(), print, print)


def test_what_is_lost_again_and_again_counts_as_held(options, monkeypatch):
    """Also if nothing is to be seen of the holder: another GPU is taken."""
    uuids = host(monkeypatch)
    monkeypatch.setattr(claims, "holders", dict)
    contention = Contention()
    with another(B, holds(*map(claims.gpu, uuids[:2]))):
        plan = claim_gpus(prepare(options), contention, print, print).launch.plan
        assert indices(plan) == [2, 3]
        contention.claims.close()
        named, found = replace(options, gpus=("0", "1")), []
        with pytest.raises(GpuopsError, match="nothing was started: gpus"):
            claim_gpus(prepare(named), Contention(), print, found.extend)
        (words,) = [one.summary for one in found if one.check == "gpus"]
        assert re.search(f"GPU [01] is held by run theirs of {B}", words)


def test_a_launch_takes_what_odd_locks_leave(options, monkeypatch, place):
    """Its words name the GPU, the owner, the file."""
    uuids = host(monkeypatch)
    path = place / f"{claims.gpu(uuids[0])}.lock"
    with another(B, lambda: lay(path, "FIFO")), launched(options) as (_, plan):
        assert indices(plan) == [1, 2]
        with pytest.raises(GpuopsError, match=f"in use by {B}: its lock .*sudo rm"):
            claim_gpus(prepare(replace(options, gpus=("0",))), Contention(), print, print)


def test_an_odd_lock_of_a_port_moves_a_launch_to_another(options, monkeypatch, place, own_port):
    """Unless that port was named: then it is refused, with owner and file."""
    host(monkeypatch)
    path = place / f"{claims.port(own_port)}.lock"
    with another(B, lambda: lay(path, "folder")):
        moved = prepare(options)
        named = prepare(replace(options, master_port=own_port))
    (found,) = [one for one in named.findings if one.check == "port"]

    assert moved.launch.plan.master_port != own_port
    assert (
        f"port {own_port} is in use by {B}: its lock is a folder (`sudo rm -r {path}`"
        in found.summary
    )


# -------------------------------------------------------------------------------------- tickets


def test_a_tickets_user_is_its_files_owner():
    """Not who it says."""
    with another(B, waits(["x"], 1, user="root", pid=1, since_s=1.0)):
        (ticket,) = claims.queue()

    assert (ticket.claim.user, ticket.claim.ours) == (str(B), False)
    assert ticket.claim.since_s == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("kind", ["0600", "FIFO", "link", "folder"])
def test_what_is_not_a_ticket_reserves_nothing(place, kind):
    """No more than one that nobody holds."""
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


# ------------------------------------------------------------------------------------ real jobs


def test_a_killed_job_starts_again_on_its_gpus_while_another_user_waits(
    tmp_path, mock_driver, quick_python, workers, gpuops, place
):
    """It lets go of them when it ends."""
    mock_driver.set(["driver 580.95.05", "cuda 13.0", "gpu 0-1 model=rtx4090"])
    marks, profiles = tmp_path / "marks", tmp_path / "profiles"
    marks.mkdir()
    profiles.mkdir()
    (profiles / "2.yaml").write_text("name: '2'\ngpus: {count: 2}\n")
    faults = {"MARKS": str(marks), "FAULTS": "1:15:pause-kill", "STEPS": "20"}
    words = ("launch", workers / "faults.py", "--profile", 2, "--python", quick_python)
    own = {**mock_driver.env, **faults, claims.VARIABLE: str(place)}
    job = gpuops.start(*words, "--force", "torch", environment=own)
    while not (marks / "1-15-pause-kill").exists():
        assert job.poll() is None
        time.sleep(0.01)
    held = [name.removeprefix("gpu-") for name in claims.holders() if name.startswith("gpu-")]
    with another(B, waits(held, 2)):
        (marks / "go").touch()
        assert job.wait(60) == 0
        assert claims.holders() == {}

    (run,) = (tmp_path / "runs").glob("*-faults")
    plan = json.loads((run / "plan.json").read_text())
    gpus = [device["index"] for node in plan["nodes"] for device in node["devices"]]
    assert (plan["attempt"], gpus) == (2, [0, 1])
