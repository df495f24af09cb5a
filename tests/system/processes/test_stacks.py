"""Where real processes stand: read by py-spy, told by themselves, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpuops import reaper
from gpuops.core.diagnosis.culprit import find_culprit
from gpuops.system.processes import stacks
from gpuops.system.processes.identity import Identity

PROGRAM = """
import faulthandler, os, signal, sys, threading

def spin():
    n = 0
    while True:
        n += 1

def barrier():
    threading.Event().wait()

def uninterruptible():  # until its child has begun, which waits to open a pipe
    read = (os.POSIX_SPAWN_OPEN, 0, sys.argv[2], os.O_RDONLY, 0)
    print("ready", flush=True)
    os.posix_spawn("/bin/true", ["true"], {}, file_actions=[read])

def writer():
    stands = ["spin"] if sys.argv[1] == "spin" else ["wait", "wait", "barrier"]
    names = []
    while names != stands:
        frame, names = sys._current_frames()[threading.main_thread().ident], []
        while frame is not None and len(names) < len(stands):
            names, frame = [*names, frame.f_code.co_name], frame.f_back
    print("ready", flush=True)
    barrier()

if sys.argv[2] == "answers":
    faulthandler.register(signal.SIGUSR2, all_threads=True)
if sys.argv[2] == "own handler":
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit("saved and left"))
if sys.argv[1] != "uninterruptible":  # that holds the interpreter
    threading.Thread(target=writer, name="writer", daemon=True).start()
globals()[sys.argv[1]]()
"""
# As py-spy 0.4.3 says it to a user who is not root.
REFUSES = """#!/bin/sh
echo 'Permission Denied: Try running again with elevated permissions by going ...' >&2
exit 1
"""
STOPS_AND_HANGS = """#!/bin/sh
for pid; do :; done
kill -STOP $pid
exec sleep 60
"""
HANGS = "#!/bin/sh\nexec sleep 60\n"
BABBLES = "#!/bin/sh\necho '[{}]'\n"


@pytest.fixture(name="start")
def _start(tmp_path):
    """Starts a rank that stands in a function; its log is beside."""
    script = tmp_path / "job.py"
    script.write_text(PROGRAM)
    children = []

    def start(function, manners="plain"):
        log = tmp_path / f"rank-{len(children)}.log"
        with log.open("ab") as stderr:
            child = subprocess.Popen(
                [sys.executable, str(script), function, manners],
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        children.append(child)
        assert b"ready\n" == child.stdout.readline()
        return Identity(**reaper.identity(child.pid)), log

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture(name="spy")
def _spy(tmp_path, monkeypatch):
    """Puts another program in py-spy's place; ``None``: there is none at all."""

    def put(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        if script is not None:
            (folder / "py-spy").write_text(script)
            (folder / "py-spy").chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "python"))
        if script is None:
            monkeypatch.setenv("PATH", str(folder))

    return put


def state(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(true, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.002)


def stop(process):
    process.send(signal.SIGSTOP)
    wait_until(lambda: state(process) == "T")


def functions(stack):
    """The calls of the main thread, without the classes that Python 3.11 and later name too."""
    frames = stack.main.frames if stack.main else ()
    return [frame.function.rpartition(".")[2] for frame in frames]


def test_all_threads_of_all_ranks(start):
    """Function, file, line and its text; which thread is the main one, runs, holds the GIL."""
    (spinning, _), (waiting, _) = start("spin"), start("barrier")

    first, second = stacks.dump([(0, spinning), (3, waiting)])

    assert (0, spinning.pid, None) == (first.rank, first.pid, first.gap)
    assert (3, waiting.pid, None) == (second.rank, second.pid, second.gap)
    assert ["spin", "<module>"] == functions(first)
    assert (True, True) == (first.main.active, first.main.has_gil)
    assert first.main.frames[0].file.endswith("/job.py")
    assert first.main.frames[0].text in {"while True:", "n += 1"}
    assert "globals()[sys.argv[1]]()" == first.main.frames[1].text
    assert ["wait", "wait", "barrier", "<module>"] == functions(second)
    assert not second.main.active
    assert {"MainThread", "writer"} == {thread.name for thread in second.threads}


def test_a_stopped_rank_is_read_and_stays_stopped(start):
    """It is looked into as any other, and not woken: somebody meant it."""
    process, _ = start("spin")
    stop(process)

    (found,) = stacks.dump([(0, process)])

    assert ["spin", "<module>"] == functions(found)
    assert "T" == state(process)


def test_a_rank_stuck_in_the_kernel_is_read(start, tmp_path):
    """State D: it can do nothing, not even be asked."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process, _ = start("uninterruptible", str(pipe))
    try:
        wait_until(lambda: state(process) == "D")
        (found,) = stacks.dump([(0, process)])
    finally:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))

    assert ["uninterruptible", "<module>"] == functions(found)


def test_two_looks_accuse_the_one_that_spins(start):
    """From processes to a name: what the stacks say reaches the vote."""
    targets = [(rank, start(what)[0]) for rank, what in enumerate(["spin", "barrier", "barrier"])]

    attribution = find_culprit(stacks.dump(targets), stacks.dump(targets))

    assert 2 == len(attribution.groups)
    assert ("python spin", 0) == (attribution.culprit.kind, attribution.culprit.rank)


def test_who_has_ended_has_no_stack(start):
    """Neither has who took over the pid."""
    process, _ = start("spin")
    other = Identity(process.pid, process.start_ticks - 1)
    process.send(signal.SIGKILL)
    wait_until(lambda: not process.alive)

    found = stacks.dump([(0, process), (1, other)])

    assert ["its process has ended"] * 2 == [stack.gap for stack in found]


def test_what_is_no_python_has_a_gap():
    """With what the kernel says of its threads."""
    with subprocess.Popen(["sleep", "60"]) as child:
        process = Identity(**reaper.identity(child.pid))
        wait_until(lambda: b"sleep" in Path(f"/proc/{child.pid}/cmdline").read_bytes())
        wait_until(lambda: state(process) == "S")
        (found,) = stacks.dump([(0, process)])
        child.kill()

    assert found.main is None
    assert found.gap.startswith("py-spy: Failed to find python version from target process")
    assert "; in the kernel: S" in found.gap


def test_where_py_spy_may_not_the_rank_is_asked(start, spy):
    """It writes its own stacks, and goes on; the thread that took the signal is the main one."""
    (spinning, log), (waiting, other) = start("spin", "answers"), start("barrier", "answers")
    spy(REFUSES)

    found = stacks.dump([(0, spinning), (1, waiting)], 5.0, {0: log, 1: other})

    assert ["spin", "<module>"] == functions(found[0])
    assert ["wait", "wait", "barrier", "<module>"] == functions(found[1])
    assert "globals()[sys.argv[1]]()" == found[1].main.frames[-1].text
    assert found[0].main.has_gil is None
    assert spinning.alive
    assert waiting.alive


def test_only_what_is_new_in_the_log_counts(start, spy):
    """An answer to somebody else, earlier, is not where it stands now."""
    process, log = start("spin", "answers")
    with log.open("a") as file:
        file.write('Current thread 0x1 (most recent call first):\n  File "a", line 1 in old\n')
    spy(None)

    (found,) = stacks.dump([(0, process)], 5.0, {0: log})

    assert ["spin", "<module>"] == functions(found)
    assert 2 == len(found.threads)


@pytest.mark.parametrize("manners", ["plain", "own handler"])
def test_who_did_not_offer_to_answer_is_not_asked(start, spy, manners):
    """The signal would end it, or make it save and leave: it has a gap instead, and lives."""
    process, log = start("spin", manners)
    spy(REFUSES)

    (found,) = stacks.dump([(0, process)], 5.0, {0: log} if manners == "plain" else {})

    assert found.gap.startswith("py-spy may not read it: permission denied; in the kernel: ")
    assert "R" in found.gap
    assert process.alive
    assert "" == log.read_text()


def test_a_stopped_rank_cannot_answer(start, spy):
    """And is not sent what it would find when it goes on."""
    process, log = start("spin", "answers")
    stop(process)
    spy(None)

    (found,) = stacks.dump([(0, process)], 5.0, {0: log})

    assert found.gap.startswith("py-spy is not installed; in the kernel: T")
    process.send(signal.SIGCONT)
    wait_until(lambda: state(process) == "R")
    assert "" == log.read_text()


@pytest.mark.parametrize("stopped_before", [False, True])
def test_a_py_spy_that_hangs_is_ended(start, spy, stopped_before):
    """In its time; a rank that it has stopped goes on, one that was stopped before does not."""
    process, _ = start("spin")
    if stopped_before:
        stop(process)
    spy(HANGS if stopped_before else STOPS_AND_HANGS)
    begin = time.monotonic()

    (found,) = stacks.dump([(0, process)], 0.6)

    assert 0.4 < time.monotonic() - begin < 3
    assert found.gap.startswith("py-spy did not end in its time; in the kernel: ")
    wait_until(lambda: state(process) == ("T" if stopped_before else "R"))


def test_what_cannot_be_understood_is_said(start, spy):
    """A py-spy of another day may speak otherwise."""
    process, _ = start("barrier")
    spy(BABBLES)

    (found,) = stacks.dump([(0, process)], 5.0)

    assert found.gap.startswith("py-spy's output cannot be parsed; in the kernel: S in futex")


def test_nobody_is_looked_into():
    """No ranks, no stacks."""
    assert () == stacks.dump([])


def test_nothing_is_left_open(start):
    """A supervisor looks for months."""
    process, _ = start("barrier")
    before = len(list(Path("/proc/self/fd").iterdir()))

    stacks.dump([(0, process), (1, process)])

    assert before == len(list(Path("/proc/self/fd").iterdir()))


def test_faulthandlers_words_are_read():
    """As Python 3.11 and 3.13 write them, among other lines; a line that is unknown is 0."""
    (writer, main) = stacks.parse(
        "step 3\n"
        "Thread 0x00007f2f28ffd6c0 [writer] (most recent call first):\n"
        '  File "/usr/lib/python3.13/threading.py", line 359 in wait\n'
        "\n"
        "Current thread 0x00007f2f3a5c7040 (most recent call first):\n"
        '  File "/home/ada/my job.py", line ??? in train\n'
        '  File "/home/ada/my job.py", line 80 in <module>\n'
        "step 4\n"
    )

    assert ("writer", False, "wait") == (writer.name, writer.is_main, writer.frames[0].function)
    assert main.is_main
    assert [("train", 0), ("<module>", 80)] == [(f.function, f.line) for f in main.frames]
