"""The terminal's screen and keys, taken over and always restored."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import termios
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from rich.color import ColorSystem
from rich.style import Style
from rich.text import Text

from gpuops.text import REPLACE

# Alternate screen, no cursor, no line wrap; and all of that back.
_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = b"\x1b[?2026l\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # synchronized output: a frame appears at once
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_WAKING = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_PATIENCE_MS = 300  # a terminal that accepts no output for so long is left as it is
# Waits for a line; if none comes, this process was killed, and the terminal must be restored.
_GUARD = 'read -r _ && exit; stty "$1" <&1; printf %s "$2"'
_USUAL_SIZE = (80, 24)


class TerminalGone(BaseException):
    """A signal asks to leave while a write to a blocked terminal waits."""


def colours(environ: Mapping[str, str]) -> ColorSystem | None:
    """The colours that the terminal supports."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return None
    if environ.get("COLORTERM") in {"truecolor", "24bit"}:
        return ColorSystem.TRUECOLOR
    return ColorSystem.EIGHT_BIT if "256" in environ.get("TERM", "") else ColorSystem.STANDARD


def encoded(line: Text, system: ColorSystem | None) -> str:
    """A line with escape codes. Its spans must be in order, as ``grid`` makes them."""
    words, at, parts = line.plain, 0, []
    for span in line.spans:
        style = span.style if isinstance(span.style, Style) else Style.parse(span.style)
        parts.append(words[at : span.start])
        parts.append(style.render(words[span.start : span.end], color_system=system))
        at = span.end
    return "".join((*parts, words[at:]))


class Terminal:
    """A terminal's screen and keys, from ``take`` to ``give_back``.

    ``wake_fd`` becomes readable when a signal has come: its bytes are the signal numbers, or 0 if
    ``wake`` was called. ``ended`` is the signal that asks to leave.
    """

    def __init__(self, keys_fd: int, screen_fd: int, encoding: str = "utf-8") -> None:
        self.keys_fd = keys_fd
        self._screen_fd, self._encoding = screen_fd, encoding
        self.ended: int | None = None
        self.wake_fd, self._wake_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._colours = colours(os.environ)
        self._shown: list[str] = []
        self._writing = False
        self._was: list[Any] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}
        self._woke = -1

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            found = os.get_terminal_size(self._screen_fd)
        except OSError:
            return _USUAL_SIZE
        return (found.columns, found.lines) if found.columns and found.lines else _USUAL_SIZE

    def wake(self) -> None:
        """Make ``wake_fd`` readable; from any thread."""
        with contextlib.suppress(OSError):  # full: it is readable; closed: nothing waits
            os.write(self._wake_fd, b"\0")

    def take(self) -> None:
        """Take over the terminal. ``give_back`` must follow, even if this fails."""
        self._woke = signal.set_wakeup_fd(self._wake_fd, warn_on_full_buffer=False)
        for number in (*_ENDING, *_WAKING):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, and shells without jobs
                # The others only have to wake the loop.
                answer = self._end if number in _ENDING else lambda *_: None
                self._handlers[number] = signal.signal(number, answer)
        self._enter()

    def give_back(self) -> None:
        """Restore the terminal; may be called more than once."""
        self._leave()
        for number, before in self._handlers.items():
            signal.signal(number, before)
        self._handlers.clear()
        if self._wake_fd >= 0:
            signal.set_wakeup_fd(self._woke)
            os.close(self.wake_fd)
            os.close(self._wake_fd)
            self._wake_fd = -1

    def suspend(self) -> None:
        """Ctrl-Z: restore the terminal, stop until SIGCONT, and take it over again."""
        self._leave()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._enter()

    def resume(self) -> None:
        """Take it over again after SIGSTOP: another program may have changed it meanwhile."""
        if self._was is not None:
            self._cbreak(self._was)
            self._write(_ENTER)
        self.forget()

    def forget(self) -> None:
        """Forget what the terminal shows, so that the next frame is drawn whole."""
        self._shown = []

    def paint(self, lines: Sequence[Text]) -> None:
        """Show a frame: write the changed lines in one write."""
        width = self.size[0]
        frame = [
            encoded(line, self._colours) + ("\x1b[K" if line.cell_len < width else "")
            for line in lines
        ]
        whole = len(frame) != len(self._shown)
        changed = [
            f"\x1b[{row}H{line}"
            for row, line in enumerate(frame, 1)
            if whole or line != self._shown[row - 1]
        ]
        if changed:
            cleared = "\x1b[2J" if whole else ""
            drawn = "".join((_BEGIN, cleared, *changed, _END))
            self._write(drawn.encode(self._encoding, REPLACE))
        self._shown = frame

    def _enter(self) -> None:
        self._was = termios.tcgetattr(self.keys_fd)
        self._guard = _guard(self.keys_fd, self._screen_fd)
        self._cbreak(self._was)
        self._write(_ENTER)
        self.forget()

    def _leave(self) -> None:
        was, self._was = self._was, None
        if was is None:
            return
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            if select.select([], [self._screen_fd], [], _PATIENCE_MS / 1000)[1]:
                os.write(self._screen_fd, _LEAVE)
        with contextlib.suppress(OSError, termios.error):
            # TCSANOW: the terminal may never accept all that was written.
            _set(self.keys_fd, termios.TCSANOW, was)
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._guard.communicate(b"\n", timeout=1)
            self._guard = None

    def _cbreak(self, was: list[Any]) -> None:
        """Single keys without echo; Ctrl-C and Ctrl-Z stay signals, Ctrl-S is a key."""
        mine = [*was[:6], list(was[6])]
        mine[0] &= ~(termios.IXON | termios.ICRNL)
        mine[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
        mine[6][termios.VMIN], mine[6][termios.VTIME] = 1, 0
        _set(self.keys_fd, termios.TCSANOW, mine)

    def _write(self, data: bytes) -> None:
        self._writing = True
        try:
            while data and self.ended is None:
                try:
                    data = data[os.write(self._screen_fd, data) :]
                except BlockingIOError:  # another process that shares it has set O_NONBLOCK
                    select.select([], [self._screen_fd], [])
        except OSError:  # the terminal is gone, without a signal
            self.ended = signal.SIGHUP
        finally:
            self._writing = False

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.ended = number
        if self._writing:
            raise TerminalGone


def _set(fd: int, when: int, attributes: list[Any]) -> None:
    """``tcsetattr``, repeated if a signal (SIGCONT) interrupts it."""
    while True:
        try:
            return termios.tcsetattr(fd, when, attributes)
        except termios.error as problem:
            if problem.args[0] != errno.EINTR:
                raise


def _guard(keys_fd: int, screen_fd: int) -> subprocess.Popen[bytes] | None:
    """A shell that restores the terminal if this process is killed; ``None`` without one.

    It runs in its own session, so that it does not receive keys.
    """
    try:
        was = subprocess.run(["stty", "-g"], stdin=keys_fd, capture_output=True, check=True)
        return subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", was.stdout.decode().strip(), _LEAVE.decode()],
            stdin=subprocess.PIPE,
            stdout=screen_fd,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
