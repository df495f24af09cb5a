"""The live screen on a real pseudo-terminal: keys, frames, and how the terminal is given back."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
PATIENCE_S = 20.0

# A shell of one job: it puts it into the foreground, and there again once it has been stopped.
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[3:], pass_fds=[int(sys.argv[1]), int(sys.argv[2])],
                       preexec_fn=os.setpgrp)
os.tcsetpgrp(0, job.pid)
while True:
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
    print("it is stopped", flush=True)
    os.read(int(sys.argv[1]), 1)
    os.tcsetpgrp(0, job.pid)
    os.kill(job.pid, signal.SIGCONT)
"""


class Watched:
    """A monitor on a terminal of its own."""

    def __init__(self, worker, *, by_shell=False, size=(80, 24), **environment):
        self.ours, self.theirs = os.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.theirs)
        frame, self.frame = os.pipe()
        log, self.log = os.pipe()
        command = [sys.executable, str(worker), str(frame), str(log)]
        if by_shell:
            command = [sys.executable, "-c", SHELL, str(frame), str(log), *command]
        self.process = subprocess.Popen(
            command,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=subprocess.PIPE,
            pass_fds=[frame, log],
            start_new_session=True,
            env=os.environ | {"TZ": "UTC", "TERM": "xterm-256color"} | environment,
        )
        os.close(frame)
        os.close(log)

    def close(self):
        self.process.kill()
        self.process.communicate()
        for fd in (self.ours, self.theirs, self.frame, self.log):
            if fd >= 0:
                os.close(fd)

    def resize(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, sent):
        os.write(self.ours, sent)

    def until(self, *expected):
        """What it writes until all of that has come, and the frame is whole."""
        read, deadline = b"", time.monotonic() + PATIENCE_S
        while not all(each in read for each in expected) or not self._whole(read):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.ours], [], [], left)[0]:
                raise AssertionError(f"{expected} did not come: {read!r}")
            try:
                read += os.read(self.ours, 65536)
            except OSError:
                raise AssertionError(f"it ended without {expected}: {read!r}") from None
        return read

    @staticmethod
    def _whole(read):
        return read.rfind(b"\x1b[?2026h") <= read.rfind(b"\x1b[?2026l")

    @property
    def as_before(self):
        return termios.tcgetattr(self.theirs) == self.before


@pytest.fixture(name="watched")
def _watched(workers):
    made = []

    def watch(**how):
        made.append(Watched(workers / "monitored.py", **how))
        return made[-1]

    yield watch
    for each in made:
        each.close()


def rows(read):
    """The rows that were written."""
    return [int(row) for row in re.findall(rb"\x1b\[(\d+)H", read)]


def test_q_gives_the_terminal_back_as_it_was(watched):
    """Its modes, its screen, its cursor; and while it is borrowed no letter is echoed."""
    screen = watched()
    entered = screen.until(ENTERED, b"08:00:01", b"second")
    assert rows(entered) == list(range(1, 25))
    assert not termios.tcgetattr(screen.theirs)[3] & termios.ECHO

    screen.press(b"q")
    left = screen.until(LEFT, b"left with None")

    assert b"\x1b[?25h" in left
    assert b"\x1b[?7h" in left
    assert screen.process.wait(PATIENCE_S) == 0
    assert screen.as_before


def test_only_what_has_changed_is_written(watched):
    """A second later, nothing but the clock: one line in one frame."""
    screen = watched()
    screen.until(b"08:00:01", b"second")

    os.write(screen.frame, b"x")

    assert rows(screen.until(b"08:00:02")) == [1]


def test_keys_are_answered_while_no_board_comes(watched):
    """Sorting, pausing, help; the arrows choose a run, also where they come in parts."""
    screen = watched()
    screen.until(b"second")

    screen.press(b"s")
    screen.until(b"sort (use)")
    screen.press(b"p")
    screen.until(b"PAUSED at 08:00:01")
    os.write(screen.frame, b"x")
    screen.press(b"p")
    screen.until(b"08:00:0")
    screen.press(b"h")
    screen.until(b"never zero")
    screen.press(b"\x1b")
    screen.until(b"second")
    screen.press(b"\x1b")
    screen.press(b"[B")
    assert "▸ ".encode() in screen.until(b"second")


def test_a_page_that_cannot_be_read_holds_up_no_key(watched):
    """The log's disk does not answer: Esc and another page do. Once it does, its end is shown."""
    screen = watched()
    screen.until(b"second")
    screen.press(b"l")
    screen.until("reading …".encode())
    screen.press(b"\x1b")
    screen.until(b"second")

    screen.press(b"d")
    assert b"line 99" not in screen.until(b"the diagnosis of first", b"line 20")
    os.write(screen.log, b"x")
    screen.press(b"q")
    screen.until(b"second")
    screen.press(b"\r")
    os.write(screen.log, b"x")
    screen.until(b"line 98", b"100 of 100")


def test_a_storm_of_resizes_ends_in_a_frame_of_the_last_size(watched):
    """Nothing is written beyond the screen, and keys go on to be answered."""
    screen = watched()
    screen.until(b"second")
    for lines in range(10, 60):
        screen.resize(40 + lines, lines)
    screen.resize(100, 50)

    screen.until(b"\x1b[50H")
    screen.press(b"q")
    screen.until(b"left with None")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_gives_the_terminal_back(watched, number):
    """And says which one it was."""
    screen = watched()
    screen.until(b"second")

    screen.process.send_signal(number)

    screen.until(LEFT, f"left with {int(number)}".encode())
    assert screen.process.wait(PATIENCE_S) == 0
    assert screen.as_before


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_end(watched):
    """Output is stopped, as by Ctrl-S in another window of it; SIGTERM ends it all the same."""
    screen = watched()
    screen.until(b"second")
    termios.tcflow(screen.theirs, termios.TCOOFF)
    screen.press(b"s")
    while select.select([screen.theirs], [], [], 0)[0]:
        pass  # until the key is read: what is drawn then is written into a terminal that stands

    screen.process.send_signal(signal.SIGTERM)
    while screen.as_before is False:
        assert screen.process.poll() is None
    termios.tcflow(screen.theirs, termios.TCOON)

    assert screen.process.wait(PATIENCE_S) == 0


def test_killed_it_gives_the_terminal_back_too(watched):
    """Its helper does."""
    screen = watched()
    screen.until(b"second")

    screen.process.kill()

    screen.until(LEFT)
    assert screen.as_before


def test_a_defect_shows_its_traceback_on_a_terminal_that_is_well(watched):
    """Not on the other screen, where it would be gone."""
    screen = watched(CRASH="1")
    screen.until(b"08:00:01")
    os.write(screen.frame, b"x")
    screen.until(b"08:00:02")

    os.write(screen.frame, b"x")

    screen.until(LEFT)
    assert b"RuntimeError: no such board" in screen.process.communicate(timeout=PATIENCE_S)[1]
    assert screen.as_before


def test_ctrl_z_gives_it_back_until_the_job_goes_on(watched):
    """As in any shell: stopped in its own right, and drawn anew when it is continued."""
    screen = watched(by_shell=True)
    screen.until(b"second")

    screen.press(b"\x1a")
    screen.until(LEFT, b"it is stopped")
    assert screen.as_before
    os.write(screen.frame, b"x")

    assert set(rows(screen.until(ENTERED, b"second"))) == set(range(1, 25))
    assert not screen.as_before
    screen.press(b"\x03")
    screen.until(LEFT, b"left with 2")
    assert screen.process.wait(PATIENCE_S) == 0
    assert screen.as_before


def test_a_terminal_that_closes_ends_it(watched):
    """Nobody is left to look at it."""
    screen = watched()
    screen.until(b"second")

    os.close(screen.ours)
    screen.ours = -1

    assert screen.process.wait(PATIENCE_S) is not None
