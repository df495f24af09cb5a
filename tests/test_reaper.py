"""The shim between gpuops and torchrun, with tiny real programs in torchrun's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from gpuops import reaper


def gone(pid):
    """Whether a process has ended (a zombie has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(true, timeout_s=10.0):
    """Look until it is so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


class Shim:
    """A reaper under test, with its folder and log."""

    def __init__(self, folder, *command, grace_s=5.0, state=None):
        self.state = state or folder
        self.log = folder / "agent.log"
        main = f"import sys; from gpuops import reaper; reaper.ORPHAN_GRACE_S = {grace_s}; "
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"{main}sys.exit(reaper.main(sys.argv[1:]))",
                *(str(self.state), str(self.log), "--", *command),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )

    def record(self, name="process.json"):
        """A record, once it is there."""
        wait_until((self.state / name).exists)
        return json.loads((self.state / name).read_text())

    def end(self):
        """What the shim returned, and what it said."""
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture(name="shim")
def _shim(tmp_path):
    """Starts a shim; ends what is left of it."""
    shims = []

    def start(*command, **changes):
        shims.append(Shim(tmp_path, *command, **changes))
        return shims[-1]

    yield start
    for shim in shims:
        if shim.process.poll() is None:
            shim.process.kill()
        shim.process.communicate()


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_an_exit_code_is_recorded_and_passed_on(shim, code):
    """The exit record and the shim's own status tell how the command ended."""
    begin = time.time()
    started = shim("sh", "-c", f"exit {code}")

    assert (code, "") == started.end()
    record = started.record("exit.json")
    assert (code, 0) == (record["returncode"], record["orphans_ended"])
    assert begin <= record["ended_at"] <= time.time()


def test_an_end_by_signal_is_recorded_as_one(shim):
    """A negative code in the record, 128 + n as status."""
    started = shim("sh", "-c", "kill -SEGV $$")

    assert 128 + signal.SIGSEGV == started.end()[0]
    assert -signal.SIGSEGV == started.record("exit.json")["returncode"]


def test_what_the_command_says_is_in_the_log(shim):
    """Both streams, appended to what is there."""
    started = shim("sh", "-c", "echo out; echo err >&2")
    started.end()

    assert "out\nerr\n" == started.log.read_text()


def test_the_record_says_who_runs(shim):
    """Shim and command by host, boot, pid and start time."""
    started = shim("sleep", "60")
    record = started.record()

    assert reaper.identity(started.process.pid) == record["reaper"]
    assert reaper.identity(record["agent"]["pid"]) == record["agent"]
    for process in (record["agent"], record["reaper"]):
        assert (reaper.host(), reaper.boot_id()) == (process["host"], process["boot_id"])
    os.kill(record["agent"]["pid"], signal.SIGKILL)
    assert 128 + signal.SIGKILL == started.end()[0]


def test_the_command_runs_in_a_session_of_its_own(shim):
    """A closed terminal does not reach it."""
    started = shim("sleep", "60")
    agent = started.record()["agent"]["pid"]

    assert agent == os.getsid(agent)
    os.kill(agent, signal.SIGTERM)
    started.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_handed_on(shim, number):
    """Who stops the shim stops the command, and the record is written all the same."""
    started = shim("sleep", "60")
    started.record()

    started.process.send_signal(number)

    assert 128 + number == started.end()[0]
    assert -number == started.record("exit.json")["returncode"]


def test_a_command_that_is_not_there_is_a_sentence(shim):
    """No traceback: the log says what could not be run, the record says 127 as a shell does."""
    started = shim("/no/such/python", "-m", "torch.distributed.run")

    assert (127, "") == started.end()
    assert "/no/such/python cannot be run: No such file or directory\n" == started.log.read_text()
    assert 127 == started.record("exit.json")["returncode"]


def test_a_command_that_may_not_be_run_is_a_sentence(shim, tmp_path):
    """A file without the right to execute, or a folder."""
    started = shim(str(tmp_path))

    assert 127 == started.end()[0]
    assert "Permission denied" in started.log.read_text()
    assert "Traceback" not in started.log.read_text()


def test_orphans_end_with_a_killed_command(shim, tmp_path):
    """Workers in sessions of their own, left behind by a SIGKILLed torchrun, are ended."""
    pids = tmp_path / "pids"
    script = f"setsid sleep 300 & echo $! >{pids}; (sleep 300 & echo $! >>{pids}); kill -9 $$"
    started = shim("sh", "-c", script)

    assert 128 + signal.SIGKILL == started.end()[0]
    left = [int(pid) for pid in pids.read_text().split()]
    assert 2 == len(left)
    assert all(gone(pid) for pid in left)
    assert 2 == started.record("exit.json")["orphans_ended"]


def test_an_orphan_that_ignores_sigterm_is_killed(shim, tmp_path):
    """It is asked first, and killed after the grace."""
    pid = tmp_path / "pid"
    worker = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    )
    script = f'"$0" -c "$1" & while [ ! -s {pid} ]; do sleep 0.01; done; kill -9 $$'
    started = shim("sh", "-c", script, sys.executable, worker, grace_s=0.2)
    started.end()

    assert gone(int(pid.read_text()))
    assert 1 == started.record("exit.json")["orphans_ended"]


def test_an_orphan_may_say_goodbye(shim, tmp_path):
    """SIGTERM comes before SIGKILL: a worker that saves has its time."""
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    worker = f"trap 'touch {saved}; exit' TERM; touch {ready}; while :; do sleep 0.05; done"
    script = f'sh -c "$0" & while [ ! -e {ready} ]; do sleep 0.01; done; kill -9 $$'
    shim("sh", "-c", script, worker).end()

    assert saved.exists()


def test_a_killed_shim_takes_the_command_along(shim):
    """Should the shim be killed, the job does not run on without anybody who knows it."""
    started = shim("sleep", "60")
    agent = started.record()["agent"]["pid"]

    started.process.kill()

    wait_until(lambda: gone(agent))


def test_without_a_state_folder_nothing_is_left_running(shim, tmp_path):
    """A job that nobody could find again is not started: the command ends at once."""
    begin = time.monotonic()
    started = shim("sleep", "19", state=tmp_path / "nowhere")
    _, said = started.end()

    assert 10 > time.monotonic() - begin
    assert "cannot be written: No such file or directory" in said
    assert "Traceback" not in said


def test_a_record_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    """Whole or not at all: no half file, no temporary one."""
    (tmp_path / "exit.json").mkdir()

    with pytest.raises(OSError, match="directory"):
        reaper.write_json(tmp_path / "exit.json", {})

    assert ["exit.json"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("words", [["state", "log", "--"], ["state", "log", "sleep", "1"]])
def test_wrong_words_are_answered_with_the_usage(words):
    """The shim is called by gpuops only, and still says how it is called."""
    ran = subprocess.run(
        [sys.executable, "-I", reaper.__file__, *words], capture_output=True, text=True, check=False
    )

    assert 2 == ran.returncode
    assert ran.stderr.startswith("usage: reaper.py")


def test_it_needs_the_standard_library_alone():
    """It starts in an interpreter that has nothing installed, and quickly."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({reaper.__file__!r})"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ran.returncode, ran.stderr)


def test_identity_names_one_process():
    """Pid and start time; nothing for a pid that nobody has, or whose process has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert os.getpid() == reaper.identity(os.getpid())["pid"]
    assert reaper.identity(child.pid) is None  # a zombie
    child.wait()
    assert reaper.identity(child.pid) is None
    assert reaper.identity(2**22 + 1) is None


def test_identity_reads_odd_process_names(tmp_path):
    """A program may be called ``) Z 1 (`` or something that is no UTF-8."""
    for name in (b") Z 1 (", b"\xff\xfe", b"a b"):
        program = tmp_path / os.fsdecode(name)
        program.symlink_to("/bin/sleep")
        child = subprocess.Popen([program, "60"])
        try:
            assert child.pid == reaper.identity(child.pid)["pid"]
            assert 0 < reaper.identity(child.pid)["start_ticks"]
        finally:
            child.kill()
            child.wait()
