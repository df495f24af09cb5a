"""The sampler on real processes and the real client of the driver's library, on a mock driver."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import signal
import struct
import time

import psutil
import pytest

from gpuops.monitor.sampler import FrameSource, Sampler
from gpuops.system.runs import events

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]
NAME = "20261121-061230-watched"  # of the fixture


@pytest.fixture(name="driver")
def _driver(mock_driver, monkeypatch, run):
    """Eight GPUs, of which the ranks hold the first two, and a stranger the third."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(mock_driver.lib))
    monkeypatch.setenv("MOCK_NVML_STATE", str(mock_driver.state))
    mock_driver.held = [
        *EIGHT,
        *(f"proc gpu={index} pid={rank.pid} mem=9000" for index, rank in enumerate(run.ranks)),
        f"proc gpu=2 pid={os.getppid()} mem=500",
    ]
    mock_driver.set(mock_driver.held)
    yield mock_driver
    mock_driver.set([])


def ours(frame, run):
    """Its own job: other tests have theirs on this machine."""
    return next((job for job in frame.jobs if job.run_dir == str(run.root)), None)


def test_a_run_its_gpus_and_a_stranger(driver, run):
    """Each rank with its GPU and its beat; what the run was told to leave alone; who else is."""
    assert driver
    run.steps()
    with Sampler(2.0, patient=True) as sampler:
        frame = sampler.sample()
    job = ours(frame, run)

    assert ("rvq", "2x4090", False) == (job.target, job.profile, job.supervised)
    assert [(0, (0,), 1), (1, (1,), 1)] == [(r.rank, r.gpus, r.step) for r in job.ranks]
    assert [rank.pid for rank in run.ranks] == [rank.pid for rank in job.ranks]
    assert job.ranks[0].data_wait == 0.25
    states = [gpu.state for gpu in frame.gpus]
    assert ["ok", "ok", "busy-other", "ok", "ok", "ok", "ok", "excluded"] == states
    assert [(2, os.getppid())] == [(one.gpu, one.pid) for one in frame.strangers]


def test_the_world_changes_under_it(driver, run):
    """GPUs lost and back, a driver unloaded, ghost memory, a rank stopped, a folder deleted."""
    run.steps()
    with Sampler(0.2) as sampler:
        sampler.sample()
        driver.set([*driver.held, "lost 3", f"proc gpu=4 pid={2**22 + 1} mem=700 keep"])
        lost = sampler.sample()
        driver.set([*EIGHT, "init DRIVER_NOT_LOADED", "fault * * DRIVER_NOT_LOADED"])
        unloaded = sampler.sample()
        driver.set(driver.held)
        run.ranks[1].send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, run.ranks[1].pid, os.WSTOPPED | os.WNOWAIT)
        back = sampler.sample()
        shutil.rmtree(run.root)
        deleted = sampler.sample()
        run.ends()
        gone = sampler.sample()

    assert ("lost", "busy-other") == (lost.gpus[3].state, lost.gpus[4].state)
    assert [(2, "known"), (4, "gone")] == [(one.gpu, one.whose) for one in lost.strangers]
    assert 8 == len(unloaded.gpus)
    assert {"unreadable"} == {gpu.state for gpu in unloaded.gpus}
    assert "ok" == back.gpus[3].state
    assert ["S", "T"] == [rank.process for rank in ours(back, run).ranks]
    assert [None, None] == [rank.step for rank in ours(deleted, run).ranks]
    assert ours(gone, run) is None
    assert f"{NAME} has ended" in [change.words for change in gone.changes]


def test_torn_files_stop_nobody(driver, run):
    """Half a beat, no events but rubbish, a plan that is none."""
    assert driver
    run.steps()
    (run.beats / "rank-0.beat").write_bytes(b"\0" * 50)
    (run.root / "events.jsonl").write_bytes(b'{"event": "diagnosis", "time": "x"}\n[1\n\xff\n{"ti')
    (run.root / "plan.json").write_text('{"target": [], "exclude_gpus": 7, "hang_timeout_s": "x"}')
    with Sampler(2.0) as sampler:
        job = ours(sampler.sample(), run)

    assert [None, 1] == [rank.step for rank in job.ranks]
    assert (None, None, None) == (job.target, job.profile, job.diagnosis)


def test_what_a_run_notes_is_told_once(driver, run):
    """Its supervisor's diagnosis, found in the folder, and how it ended."""
    assert driver
    run.steps()
    with Sampler(2.0) as sampler:
        sampler.sample()
        events.record(
            run.root, "diagnosis", attempt=1, what="suspected", kind="python spin", sure=True,
            why="rank 1 computes without end",
        )  # fmt: skip
        events.record(run.root, "restart", attempt=1, why="from the checkpoint of step 1")
        suspected, again = sampler.sample(), sampler.sample()

    assert "python spin: rank 1 computes without end" == ours(suspected, run).diagnosis
    assert 1 == sum("restarts: from" in one.words for one in again.changes)


def test_a_stuck_driver_does_not_hold_the_looks_up(driver, run):
    """The period is kept within a tenth, and the GPU says since when it does not answer."""
    interval_s = 0.4
    with FrameSource(interval_s) as looks:
        first = next_board(looks)
        driver.set([*driver.held, "hang 5 nvmlDeviceGet* 60"])
        boards = [next_board(looks) for _ in range(8)]
        driver.set(driver.held)
    steady = [later.at_s - sooner.at_s for sooner, later in itertools.pairwise(boards[3:])]

    assert "ok" == first.gpus[5].state
    assert "stuck" == boards[-1].gpus[5].state
    assert "has not answered" in boards[-1].gpus[5].fault
    assert sorted(steady)[len(steady) // 2] == pytest.approx(interval_s, rel=0.1)
    assert run.ranks[0].poll() is None


def test_nothing_is_left_when_it_is_closed(driver, run):
    """No child, and no thread that reads on."""
    assert driver
    assert run
    with FrameSource(0.2) as looks:
        next_board(looks)
        children = psutil.Process().children()
    gone, alive = psutil.wait_procs([one for one in children if "nvml_reader" in _said(one)], 5)

    assert (True, []) == (bool(gone), alive)


def _said(process):
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return "nvml_reader"


def next_board(looks):
    """The next look, waited for as who draws does."""
    assert select.select([looks], [], [], 20)[0], "no look was taken"
    return looks.newest()


def test_a_defect_of_the_thread_reaches_whoever_draws(monkeypatch):
    """It must not look like a monitor at rest."""

    def broken(_self):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Sampler, "sample", broken)
    with FrameSource(0.2) as looks:
        assert select.select([looks], [], [], 20)[0]
        with pytest.raises(ZeroDivisionError):
            looks.newest()


def test_the_first_look_of_a_night_knows_it(run):
    """A rank that has been silent for hours is told as hung at once, by its beat's own time."""
    run.steps()
    beat = run.beats / "rank-0.beat"
    for path in (beat, run.beats / "rank-1.beat"):
        data = bytearray(path.read_bytes())

        for slot in (64, 128):
            struct.pack_into("<d", data, slot + 48, time.monotonic() - 9000)
        path.write_bytes(data)
    with Sampler(2.0) as sampler:
        frame = sampler.sample()

    assert ("hung", "hung") == (ours(frame, run).health, frame.health)
