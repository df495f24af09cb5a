"""The monitor on a terminal: frames as boards come, and an answer to every key at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from rich.text import Text

from gpuops.core.monitor.frame import Frame, JobRow
from gpuops.errors import GpuopsError
from gpuops.ui.monitor import keys, screen
from gpuops.ui.monitor.gpus import SORTS
from gpuops.ui.monitor.jobs import chosen, in_order, key
from gpuops.ui.monitor.screen import Page, View
from gpuops.ui.monitor.tty import Terminal, TerminalGone

Kind = Literal["logs", "diagnosis"]
What = Literal["logs", "diagnosis", "help", "rest"]
Pages = Callable[[JobRow, Kind], Sequence[str]]

_ALONG = {"up": -1, "k": -1, "down": 1, "j": 1}
_LEAPS = {"page up": -1, "page down": 1, " ": 1}
_ENDS = {"home": -(10**9), "g": -(10**9), "end": 10**9, "G": 10**9}
_OPENS: dict[str, What] = {
    "l": "logs", "enter": "logs", "d": "diagnosis", "e": "rest", "h": "help", "?": "help",
}  # fmt: skip
_TITLES: dict[Kind, str] = {"logs": "log", "diagnosis": "diagnosis"}
_ESCAPE_S = 0.05  # an arrow's letters come at once; the key Esc comes alone
_TICK_S = 1.0
_LATE_AFTER = 3  # intervals
_LEAST_LATE_S = 3.0


class Boards(Protocol):
    """Where boards come from: made by somebody else, in a thread of its own."""

    def newest(self) -> Frame | None:
        """The newest board, at once; ``None``: none yet. What it raises ends the screen."""

    def fileno(self) -> int:
        """A pipe or an eventfd that can be read from when there is a newer one."""


def run(
    boards: Boards, *, interval_s: float, pages: Pages, keys_fd: int = 0, screen_fd: int = 1
) -> int | None:
    """Show boards until somebody leaves; the signal that asked for it, ``None`` for the key q.

    ``pages`` gives the lines of a job's log and diagnosis; it is called in a thread of its own, so
    that a disk that does not answer holds up no key. The terminal is given back in every case; if
    this process is killed (SIGKILL), by a helper; should that be killed too, ``reset`` does it.
    """
    terminal = Terminal(keys_fd, screen_fd)
    try:
        terminal.take()
        _Live(terminal, boards, interval_s, pages).go()
    except TerminalGone:
        pass
    finally:
        terminal.give_back()
    return terminal.ended


class _Live:
    """What is looked at, and how."""

    def __init__(self, terminal: Terminal, boards: Boards, interval_s: float, pages: Pages) -> None:
        self._terminal, self._boards = terminal, boards
        self._interval_s = interval_s
        self._board = boards.newest()
        self._came_at = time.monotonic()
        self._view = View(interval_s=interval_s)
        self._reader = _Reader(pages, terminal.wake)
        self._rest = False  # whether the page is what has no room on the screen
        self._over = False

    def go(self) -> None:
        """Until q, the terminal's end, or a signal."""
        terminal, pending, due_at = self._terminal, b"", 0.0
        poll = select.poll()
        for fd in (terminal.keys_fd, terminal.wake_fd, self._boards.fileno()):
            poll.register(fd, select.POLLIN)
        while not self._over and terminal.ended is None:
            self._show()
            ready = [fd for fd, _ in poll.poll(1000 * (_ESCAPE_S if pending else _TICK_S))]
            if terminal.wake_fd in ready:
                self._woken(set(os.read(terminal.wake_fd, 4096)))
            if self._boards.fileno() in ready:
                if not os.read(self._boards.fileno(), 4096):
                    poll.unregister(self._boards.fileno())  # closed: what is overdue will be said
                self._take(self._boards.newest())
            if terminal.keys_fd in ready:
                read = _typed(terminal.keys_fd)
                if not read:
                    return
                names, pending = keys.pressed(pending + read)
                due_at = time.monotonic() + _ESCAPE_S
            elif pending and time.monotonic() >= due_at:
                names, pending = keys.alone(pending), b""
            else:
                continue
            for name in names:
                self._press(name)

    def _show(self) -> None:
        width, height = self._terminal.size
        if self._board is None:
            looking = "looking at the machine …"[:width]
            self._terminal.paint([Text(looking, "dim"), *[Text()] * (height - 1)])
            return
        silent_s = time.monotonic() - self._came_at
        late = silent_s > max(_LATE_AFTER * self._interval_s, _LEAST_LATE_S)
        late_s = silent_s if late and not self._view.paused else None
        self._view = replace(self._view, width=width, height=height, late_s=late_s)
        if self._rest and self._view.page:
            self._turn_to(replace(self._view.page, lines=tuple(screen.rest(self._board, width))))
        self._terminal.paint(screen.draw(self._board, self._view))

    def _woken(self, numbers: set[int]) -> None:
        if signal.SIGTSTP in numbers:
            self._terminal.suspend()
        elif signal.SIGCONT in numbers:
            self._terminal.resume()
        elif signal.SIGWINCH in numbers:
            self._terminal.forget()  # terminals break long lines anew as they like
        lines = self._reader.read()
        if lines is not None and self._view.page and not self._rest:
            self._turn_to(replace(self._view.page, lines=tuple(lines)))

    def _take(self, frame: Frame | None) -> None:
        self._came_at = time.monotonic()
        if not self._view.paused:
            self._board = frame
            self._reader.again(frame)

    def _press(self, name: str) -> None:
        self._view = replace(self._view, message=None)
        if name == "redraw":
            self._terminal.forget()
        elif name == "interrupt":
            self._over = True
        elif self._view.page is not None:
            self._leaf(name)
        elif name == "q":
            self._over = True
        elif self._board is not None:
            self._command(name, self._board)

    def _command(self, name: str, frame: Frame) -> None:
        view, by = self._view, _ALONG.get(name)
        if by is not None:
            self._move(frame, by)
        elif name in _LEAPS:
            self._view = screen.scrolled(frame, view, _LEAPS[name] * self._leap)
        elif name == "s":
            self._view = replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
        elif name == "p":
            self._view = replace(view, paused=not view.paused)
            self._board = self._boards.newest() if view.paused else frame
        elif name in _OPENS:
            self._open(_OPENS[name], frame)

    def _move(self, frame: Frame, by: int) -> None:
        """To another run; where there is one alone, along its ranks."""
        jobs = in_order(frame)
        now = chosen(frame, self._view.selected)
        if now is None or len(jobs) == 1:
            self._view = screen.scrolled(frame, self._view, by)
            return
        to = min(max(0, jobs.index(now) + by), len(jobs) - 1)
        self._view = replace(self._view, selected=key(jobs[to]), scroll=0)

    def _open(self, what: What, frame: Frame) -> None:
        if what == "help":
            self._turn_to(Page(title="help", lines=tuple(screen.HELP)))
        elif what == "rest":
            self._rest = True
            self._turn_to(Page(title="processes of others, events, advice"))
        else:
            self._read(what, frame)

    def _read(self, kind: Kind, frame: Frame) -> None:
        job = chosen(frame, self._view.selected)
        if job is None:
            self._view = replace(self._view, message="no run is here")
            return
        self._turn_to(
            Page(
                title=f"{_TITLES[kind]} of {job.name}",
                lines=("reading …",),
                top=None if kind == "logs" else 0,
            )
        )
        self._reader.start(job, kind)

    def _turn_to(self, page: Page | None) -> None:
        self._view = replace(self._view, page=page)

    def _leaf(self, name: str) -> None:
        """On a page."""
        by = _ALONG.get(name) or _LEAPS.get(name, 0) * self._leap or _ENDS.get(name)
        if name in {keys.ESCAPE, "q", "left"}:
            self._rest = False
            self._reader.stop()
            self._turn_to(None)
        elif by is not None and self._board is not None:
            self._view = screen.scrolled(self._board, self._view, by)

    @property
    def _leap(self) -> int:
        return max(1, (self._view.height or 0) // 2)


class _Reader:
    """Reads a page in a thread, and again with every board while it is open."""

    def __init__(self, pages: Pages, wake: Callable[[], None]) -> None:
        self._pages, self._wake = pages, wake
        self._open: tuple[JobRow, Kind] | None = None
        self._busy = False
        self._found: tuple[tuple[JobRow, Kind], Sequence[str] | Exception] | None = None

    def start(self, job: JobRow, kind: Kind) -> None:
        """Read it; what a slower one before it finds is thrown away."""
        self._open = (job, kind)
        if not self._busy:
            self._busy = True
            threading.Thread(target=self._look, args=(self._open,), daemon=True).start()

    def again(self, frame: Frame | None) -> None:
        """Read the open page anew, with what is now known of its job."""
        if self._open is not None and frame is not None:
            job, kind = self._open
            newer = next((each for each in frame.jobs if key(each) == key(job)), job)
            self.start(newer, kind)

    def stop(self) -> None:
        """The page is closed."""
        self._open = None

    def read(self) -> Sequence[str] | None:
        """What was found since; ``None``: nothing new. A defect of the reading is raised here."""
        found, self._found = self._found, None
        if found is None:
            return None
        (job, kind), lines = found
        self._busy = False
        if isinstance(lines, Exception):
            raise lines
        if self._open is None:
            return None
        if kind == self._open[1] and key(job) == key(self._open[0]):
            return lines
        self.start(*self._open)
        return None

    def _look(self, page: tuple[JobRow, Kind]) -> None:
        try:
            self._found = page, self._pages(*page)
        except GpuopsError as problem:
            self._found = page, [problem.message, problem.hint or ""]
        except OSError as problem:
            self._found = page, [f"It cannot be read: {problem.strerror or problem}."]
        except Exception as problem:  # noqa: BLE001 - raised again where it is seen
            self._found = page, problem
        self._wake()


def _typed(fd: int) -> bytes:
    """What was typed; nothing if the terminal is gone."""
    try:
        return os.read(fd, 1024)
    except OSError:
        return b""
