"""Heartbeats: cheap, never torn, and never the reason why training ends."""

from __future__ import annotations

import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops import heartbeat

FAST_WRITER = """
import sys
from gpuops import heartbeat
step = 0
while True:
    step += 1
    heartbeat.beat(step=step, total_steps=step, loss=float(step), data_wait=float(step))
    if step == 1:
        print("beating", flush=True)
"""


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """A fresh process's view: launched by gpuops as rank 3, nothing beaten yet."""
    monkeypatch.setenv("GPUOPS_BEAT_DIR", str(tmp_path / "beats"))
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(heartbeat, "_slot", None)
    monkeypatch.setattr(heartbeat, "_opened", False)
    return tmp_path / "beats"


@pytest.fixture(name="fast_writer")
def _fast_writer(tmp_path):
    """A rank that beats as fast as it can."""
    writer = subprocess.Popen(
        [sys.executable, "-c", FAST_WRITER],
        env={**os.environ, "GPUOPS_BEAT_DIR": str(tmp_path), "RANK": "0"},
        stdout=subprocess.PIPE,
    )
    assert b"beating\n" == writer.stdout.readline()
    yield writer
    writer.kill()
    writer.communicate()


def test_what_is_beaten_is_read(folder):
    """All that a rank says arrives, with who said it and when."""
    before = time.monotonic()
    heartbeat.beat(12, total_steps=600, loss=0.31, data_wait=0.02, phase="evaluate")

    beat = heartbeat.read(folder / "rank-3.beat")

    assert (os.getpid(), 3) == (beat.pid, beat.rank)
    assert (12, 600, 0.31, 0.02) == (beat.step, beat.total_steps, beat.loss, beat.data_wait)
    assert "evaluate" == beat.phase
    assert before <= beat.monotonic_s <= time.monotonic()


def test_what_is_not_said_is_none_and_not_zero(folder):
    """Absent and zero are told apart, both ways."""
    heartbeat.beat()
    silent = heartbeat.read(folder / "rank-3.beat")
    heartbeat.beat(0, total_steps=0, loss=0.0, data_wait=0.0)
    zero = heartbeat.read(folder / "rank-3.beat")

    assert [None] * 4 == [silent.step, silent.total_steps, silent.loss, silent.data_wait]
    assert [0, 0, 0.0, 0.0] == [zero.step, zero.total_steps, zero.loss, zero.data_wait]


def test_the_newest_beat_is_read(folder):
    """Each beat replaces the one before."""
    for step in range(1, 8):
        heartbeat.beat(step)

        assert step == heartbeat.read(folder / "rank-3.beat").step


def test_the_step_before_is_read_too(folder):
    """Also where nobody looked meanwhile; not that of a start, at which no step was made."""
    for step, phase, before in ((4, "start", None), (5, "train", None), (6, "save", 5)):
        heartbeat.beat(step, phase=phase)
        assert heartbeat.read(folder / "rank-3.beat").step_before == before
    heartbeat.beat()
    assert heartbeat.read(folder / "rank-3.beat").step_before is None


def test_a_phase_fits_in_its_eight_bytes(folder):
    """Every phase that there is comes back whole."""
    for phase in heartbeat.PHASES:
        heartbeat.beat(phase=phase)

        assert phase == heartbeat.read(folder / "rank-3.beat").phase


@pytest.mark.usefixtures("folder")
def test_bare_a_beat_does_nothing(tmp_path, monkeypatch, capsys):
    """Without the variable nothing is written and nothing is said."""
    monkeypatch.delenv("GPUOPS_BEAT_DIR")

    heartbeat.beat(1)

    assert [] == list(tmp_path.iterdir())
    assert ("", "") == capsys.readouterr()


@pytest.mark.usefixtures("folder")
def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, capsys):
    """Training goes on unwatched; one line says why."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPUOPS_BEAT_DIR", str(tmp_path / "file"))

    for step in range(3):
        heartbeat.beat(step)

    said = capsys.readouterr().err
    assert 1 == said.count("\n")
    assert said.startswith("gpuops: no heartbeats from this process: ")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("rank", ["", "none", "1.5"])
def test_a_rank_that_is_no_number_does_not_end_training(monkeypatch, capsys, rank):
    """Whatever a launcher put into RANK, the program goes on."""
    monkeypatch.setenv("RANK", rank)

    heartbeat.beat(1)

    assert "no heartbeats" in capsys.readouterr().err


class Exploding:
    """A tensor of many elements, as far as numbers go."""

    def __float__(self):
        raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")

    __int__ = __float__


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "x"},
        {"step": 2**80},
        {"step": math.inf},
        {"step": math.nan},
        {"loss": "x"},
        {"loss": Exploding()},
        {"step": Exploding()},
        {"loss": [1]},
        {"phase": None},
        {"phase": 3},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}-{type(next(iter(wrong.values()))).__name__}",
)
def test_a_wrong_beat_never_ends_training(capsys, wrong):
    """Being watched matters less than training: it is said once, and that is all."""
    heartbeat.beat(1)
    heartbeat.beat(**{"step": 2, **wrong})
    heartbeat.beat(**{"step": 3, **wrong})

    assert 1 == capsys.readouterr().err.count("\n")


def test_a_number_of_any_kind_is_a_number(folder):
    """A step as a float, a loss as an int: what a script has at hand."""
    heartbeat.beat(3.0, loss=2, data_wait=True)

    beat = heartbeat.read(folder / "rank-3.beat")
    assert (3, 2.0, 1.0) == (beat.step, beat.loss, beat.data_wait)


def test_all_ranks_are_read_in_order(tmp_path):
    """By rank, not by name: rank 10 comes after rank 2."""
    for rank in (10, 2, 0):
        heartbeat.Slot(tmp_path / f"rank-{rank}.beat", rank).write(rank, None, None, None, "train")
    heartbeat.Slot(tmp_path / "rank-5.beat", 5)  # has not beaten yet

    assert [0, 2, 10] == [beat.rank for beat in heartbeat.read_all(tmp_path)]


def test_nothing_there_is_no_beat(tmp_path):
    """A missing file, a folder, a missing folder: nobody has beaten."""
    (tmp_path / "rank-0.beat").mkdir()

    assert heartbeat.read(tmp_path / "rank-1.beat") is None
    assert heartbeat.read(tmp_path / "rank-0.beat") is None
    assert [] == heartbeat.read_all(tmp_path / "nowhere")


@settings(max_examples=100)
@given(
    content=st.binary(max_size=300) | st.binary(min_size=184, max_size=184).map(b"gpuops01".__add__)
)
def test_a_file_of_anything_is_a_beat_or_none(tmp_path_factory, content):
    """Somebody else's file never makes a supervisor stumble."""
    path = tmp_path_factory.mktemp("any") / "rank-0.beat"
    path.write_bytes(content)

    beat = heartbeat.read(path)

    assert beat is None or isinstance(beat.phase, str)


@pytest.mark.usefixtures("fast_writer")
def test_a_read_is_never_torn(tmp_path):
    """Step, total, loss and wait of one read are always of one beat, and never go back."""
    steps, end = [], time.monotonic() + 20
    while (len(steps) < 4000 or len(set(steps)) <= 10) and time.monotonic() < end:
        beat = heartbeat.read(tmp_path / "rank-0.beat")
        if beat is not None:
            assert beat.step == beat.total_steps == beat.loss == beat.data_wait
            steps.append(beat.step)

    assert 100 < len(steps)
    assert sorted(steps) == steps
    assert 10 < len(set(steps))


def test_a_writer_that_was_stopped_is_still_read(tmp_path, fast_writer):
    """A rank that is stopped at any moment leaves its last whole beat."""
    for _ in range(20):
        fast_writer.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, fast_writer.pid, os.WSTOPPED)

        first, again = (heartbeat.read(tmp_path / "rank-0.beat") for _ in range(2))

        assert first == again
        assert first.step == first.loss == first.data_wait
        fast_writer.send_signal(signal.SIGCONT)


def test_half_a_beat_is_not_there_yet(tmp_path):
    """What was written into the other slot but not published does not count."""
    path = tmp_path / "rank-0.beat"
    slot = heartbeat.Slot(path, 0)
    slot.write(1, 10, 0.5, None, "train")
    data = bytearray(path.read_bytes())
    for offset in (64, 128):
        if int.from_bytes(data[offset + 16 : offset + 24], "little") != 1:
            data[offset : offset + 40] = b"\xab" * 40
    path.write_bytes(data)

    assert (1, 10, 0.5) == (
        (beat := heartbeat.read(path)).step,
        beat.total_steps,
        beat.loss,
    )


def test_a_new_attempt_in_the_same_file_begins_anew(tmp_path):
    """A file left by an earlier process shows nothing until the new one beats."""
    path = tmp_path / "rank-0.beat"
    heartbeat.Slot(path, 0).write(99, None, None, None, "train")

    slot = heartbeat.Slot(path, 0)

    assert heartbeat.read(path) is None
    slot.write(1, None, None, None, "train")
    assert 1 == heartbeat.read(path).step


def test_a_second_process_of_the_same_rank_does_not_end_the_first(tmp_path):
    """A helper that inherits the rank opens the same file under a mapped one."""
    path = tmp_path / "rank-0.beat"
    first = heartbeat.Slot(path, 0)
    for _ in range(50):
        heartbeat.Slot(path, 0)
        first.write(1, None, None, None, "train")

    assert 1 == heartbeat.read(path).step


def test_a_full_disk_does_not_end_training(tmp_path):
    """A file system without room is said, not answered by SIGBUS."""
    script = (
        f"mount -t tmpfs -o size=4k tmpfs {tmp_path} && "
        f"{{ head -c 8192 /dev/zero > {tmp_path}/full 2>/dev/null; true; }} && "
        f"exec {sys.executable} -c 'from gpuops import heartbeat; heartbeat.beat(1); print(5)'"
    )
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    ran = subprocess.run(
        [unshare, "-rm", "sh", "-c", script],
        env={**os.environ, "GPUOPS_BEAT_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "5\n") == (ran.returncode, ran.stdout)
    assert "No space left" in ran.stderr


@pytest.mark.usefixtures("folder")
def test_a_beat_costs_microseconds():
    """A step of a millisecond does not notice it."""
    costs = []
    for step in range(5000):
        begin = time.perf_counter()
        heartbeat.beat(step, total_steps=5000, loss=0.5, data_wait=0.1)
        costs.append(time.perf_counter() - begin)

    assert 20e-6 > statistics.median(costs)
