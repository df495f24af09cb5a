"""Jobs started, found and signalled: with tiny real programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from gpuops import reaper
from gpuops.errors import GpuopsError
from gpuops.system.processes import process
from gpuops.system.processes.identity import Identity, local

BOSS = """
import os, subprocess, sys
workers = [
    subprocess.Popen(["sleep", "60"], env={**os.environ, "RANK": str(rank)}) for rank in range(2)
]
other = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]})
print("ready", flush=True)
sys.exit(max(worker.wait() != 0 for worker in workers))
"""


def wait_until(true, timeout_s=10.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


@pytest.fixture(name="start")
def _start(tmp_path):
    """Starts jobs; ends what is left of them."""
    jobs = []

    def start(*command, environment=None, cwd=tmp_path):
        state = tmp_path / f"state-{len(jobs)}"
        state.mkdir()
        jobs.append(
            process.start(command, environment or {}, str(cwd), state, tmp_path / "agent.log")
        )
        return jobs[-1]

    yield start
    for job in jobs:
        if job.agent is not None:
            job.agent.send(signal.SIGKILL)
        job.child.wait(20)


@pytest.fixture(name="sleeper")
def _sleeper():
    """A process that somebody else may be."""
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -TERM $$", -15)]
)
def test_a_job_tells_how_it_ended(start, script, code):
    """An exit code, or minus the signal: from the reaper's record."""
    job = start("sh", "-c", script)
    job.child.wait(20)

    assert code == job.poll()


def test_a_running_job_has_no_exit_code(start):
    """And is found by its record."""
    job = start("sleep", "60")
    wait_until(lambda: job.agent is not None)

    assert job.poll() is None
    assert job.agent.alive
    assert local(job.state_dir, "agent") == job.agent
    assert job.pid == local(job.state_dir, "reaper").pid
    job.agent.send(signal.SIGTERM)
    job.child.wait(20)
    assert -signal.SIGTERM == job.poll()
    assert not job.agent.alive


def test_a_job_runs_where_and_with_what_it_was_told(start, tmp_path):
    """The folder, and the variables added to ours."""
    (tmp_path / "here").mkdir()
    job = start(
        "sh", "-c", 'echo "$PWD $ADDED" >seen', environment={"ADDED": "x"}, cwd=tmp_path / "here"
    )
    job.child.wait(20)

    assert f"{tmp_path}/here x\n" == (tmp_path / "here" / "seen").read_text()


def test_a_command_that_is_not_there_ends_with_127(start, tmp_path):
    """The log has a sentence, no traceback."""
    job = start("/no/such/python")
    job.child.wait(20)

    assert 127 == job.poll()
    assert "/no/such/python cannot be run" in (tmp_path / "agent.log").read_text()
    assert "Traceback" not in (tmp_path / "agent.log").read_text()


def test_a_working_folder_that_has_gone_is_named(start, tmp_path):
    """A resumed run's folder may have been moved: that is said, not something else."""
    with pytest.raises(GpuopsError, match=r"gone: No such file or directory"):
        start("true", cwd=tmp_path / "gone")


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    """Not the program, which is there."""
    with pytest.raises(GpuopsError, match=r"nowhere/agent\.log: No such file"):
        process.start(["true"], {}, str(tmp_path), tmp_path, tmp_path / "nowhere" / "agent.log")


def test_workers_are_the_children_with_a_rank(start, tmp_path):
    """Not every child of torchrun is a worker."""
    job = start(sys.executable, "-c", BOSS)
    wait_until(lambda: "ready" in (tmp_path / "agent.log").read_text())

    workers = job.workers()

    assert 2 == len(workers)
    assert all(worker.alive for worker in workers)
    assert job.agent not in workers


def test_nobody_is_left_of_a_killed_job(start, tmp_path):
    """SIGKILL to torchrun alone ends its workers as well."""
    job = start(sys.executable, "-c", BOSS)
    wait_until(lambda: "ready" in (tmp_path / "agent.log").read_text())
    workers = job.workers()

    job.agent.send(signal.SIGKILL)
    job.child.wait(20)

    assert -signal.SIGKILL == job.poll()
    assert not any(worker.alive for worker in workers)
    assert [] == job.workers()


def test_a_job_not_yet_started_has_no_workers(tmp_path):
    """Before the reaper's record there is nobody to signal."""
    job = process.Job(tmp_path)

    assert job.agent is None
    assert [] == job.workers()


def test_a_recycled_pid_is_never_signalled(sleeper):
    """The pid alone is not the process."""
    named = reaper.identity(sleeper.pid)
    somebody = Identity(named["pid"], named["start_ticks"] - 1)

    somebody.send(signal.SIGKILL)

    assert not somebody.alive
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(0.1)
    Identity(**named).send(signal.SIGKILL)
    assert -signal.SIGKILL == sleeper.wait(5)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31 - 1, 0, -1, 2**70])
def test_a_pid_that_nobody_has_is_nobody(pid):
    """Neither alive nor signalled, and no traceback."""
    nobody = Identity(pid, 1)

    assert not nobody.alive
    nobody.send(signal.SIGTERM)


def test_a_process_of_another_boot_or_host_is_never_signalled(sleeper):
    """Its pid and start time may by chance be those of a process here."""
    named = Identity(**reaper.identity(sleeper.pid))
    rebooted = replace(named, boot_id="another")
    remote = replace(rebooted, host="n2")

    assert (True, False) == (named.here, named.elsewhere)
    assert (False, False, False) == (rebooted.here, rebooted.elsewhere, rebooted.alive)
    assert (False, True, False) == (remote.here, remote.elsewhere, remote.alive)
    for other in (rebooted, remote):
        other.send(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(0.1)


def test_an_ended_process_is_not_alive(sleeper):
    """Not even while nobody has waited for it."""
    named = Identity(**reaper.identity(sleeper.pid))
    assert named.alive

    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    assert not named.alive
    named.send(signal.SIGTERM)


def test_signals_are_queued_in_order(sleeper):
    """A wait ends with the first signal; none is lost, none is handled twice."""
    with process.SignalQueue() as queue:
        os.kill(os.getpid(), signal.SIGTERM)
        first = list(queue.wait(sleeper.pid, 20))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        more = [*queue.wait(sleeper.pid, 20), *queue.wait(sleeper.pid, 0)]

    assert [signal.SIGTERM] == first
    assert {signal.SIGINT, signal.SIGHUP} == set(more)
    assert 2 == len(more)


def test_a_wait_ends_with_the_child(sleeper):
    """The end of the job is noticed at once, not at the next tick."""
    with process.SignalQueue() as queue:
        sleeper.kill()
        begin = time.monotonic()
        assert [] == list(queue.wait(sleeper.pid, 20))

    assert 5 > time.monotonic() - begin


def test_a_wait_ends_with_its_time(sleeper):
    """Nothing happened, and the wait took about as long as it may."""
    with process.SignalQueue() as queue:
        begin = time.monotonic()
        assert [] == list(queue.wait(sleeper.pid, 0.05))

    assert 0.04 < time.monotonic() - begin < 5


@pytest.mark.usefixtures("sleeper")
def test_handlers_come_back_after():
    """Ctrl-C is again what it was."""
    before = [signal.getsignal(number) for number in process.SignalQueue.SIGNALS]
    with process.SignalQueue():
        assert before != [signal.getsignal(number) for number in process.SignalQueue.SIGNALS]

    assert before == [signal.getsignal(number) for number in process.SignalQueue.SIGNALS]
    assert -1 == signal.set_wakeup_fd(-1)


def test_an_ignored_signal_stays_ignored(sleeper):
    """``nohup gpuops launch ... &`` survives the end of the session."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with process.SignalQueue() as queue:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert [signal.SIGTERM] == list(queue.wait(sleeper.pid, 20))
        assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
