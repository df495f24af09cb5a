"""The monitor on a terminal: it draws each new frame, and answers every key at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, Protocol

from rich.text import Text

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import JobRow
from gpuops.errors import GpuopsError
from gpuops.ui.monitor import keys, screen
from gpuops.ui.monitor.gpus import SORTS
from gpuops.ui.monitor.jobs import chosen, in_order, key
from gpuops.ui.monitor.screen import Page, View
from gpuops.ui.monitor.tty import Terminal, TerminalGone

Kind = Literal["log", "diagnosis"]
What = Literal["log", "diagnosis", "help", "rest"]
Pages = Callable[[JobRow, Kind], Sequence[str]]

_ALONG = {"up": -1, "k": -1, "down": 1, "j": 1}
_LEAPS = {"page up": -1, "page down": 1, " ": 1}
_ENDS = {"home": -(10**9), "g": -(10**9), "end": 10**9, "G": 10**9}
_OPENS: dict[str, What] = {
    "l": "log", "enter": "log", "d": "diagnosis", "e": "rest", "h": "help", "?": "help",
}  # fmt: skip
_ESCAPE_S = 0.05  # an arrow's letters come at once; the key Esc comes alone
_TICK_S = 1.0
_LATE_AFTER = 3  # intervals
_LEAST_LATE_S = 3.0


class Frames(Protocol):
    """A source of frames, which makes them in another thread."""

    def newest(self) -> Frame | None:
        """The newest frame, at once; ``None``: none yet. An exception ends the screen."""

    def fileno(self) -> int:
        """A pipe or an eventfd that becomes readable when there is a newer frame."""


def run(
    frames: Frames,
    *,
    interval_s: float,
    pages: Pages,
    keys_fd: int = 0,
    screen_fd: int = 1,
    encoding: str = "utf-8",
) -> int | None:
    """Show frames until the user leaves; return the signal that ended it, ``None`` for key q.

    ``pages`` gives the lines of a job's log and diagnosis; it is called in another thread, so that
    a disk that does not answer delays no key. The terminal is restored in every case; if this
    process is killed (SIGKILL), by a helper; if that is killed too, the user must type ``reset``.
    """
    terminal = Terminal(keys_fd, screen_fd, encoding)
    try:
        terminal.take()
        _Live(terminal, frames, interval_s, pages).go()
    except TerminalGone:
        pass
    finally:
        terminal.give_back()
    return terminal.ended


class _Live:
    """The state of the live screen: the frame, the view, and an open page."""

    def __init__(self, terminal: Terminal, frames: Frames, interval_s: float, pages: Pages) -> None:
        self._terminal, self._frames = terminal, frames
        self._interval_s = interval_s
        self._frame = frames.newest()
        self._came_at = time.monotonic()
        self._view = View(interval_s=interval_s)
        self._pages = pages
        self._reader: _Reader | None = None  # of the open page
        self._rest = False  # whether the open page shows what did not fit on the screen
        self._over = False

    def go(self) -> None:
        """Run until q, the terminal's end, or a signal."""
        terminal, pending, due_at = self._terminal, b"", 0.0
        poll = select.poll()
        for fd in (terminal.keys_fd, terminal.wake_fd, self._frames.fileno()):
            poll.register(fd, select.POLLIN)
        while not self._over and terminal.ended is None:
            self._show()
            ready = [fd for fd, _ in poll.poll(1000 * (_ESCAPE_S if pending else _TICK_S))]
            if terminal.wake_fd in ready:
                self._woken(set(os.read(terminal.wake_fd, 4096)))
            if self._frames.fileno() in ready:
                if not os.read(self._frames.fileno(), 4096):  # closed: frames become overdue
                    poll.unregister(self._frames.fileno())
                self._take(self._frames.newest())
            if terminal.keys_fd in ready:
                read = b""
                with suppress(OSError):
                    read = os.read(terminal.keys_fd, 1024)
                if not read:  # the terminal is gone
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
        if self._frame is None:
            reading = Text("reading the host …"[:width], "dim")
            self._terminal.paint([reading, *[Text()] * (height - 1)])
            return
        silent_s = time.monotonic() - self._came_at
        late = silent_s > max(_LATE_AFTER * self._interval_s, _LEAST_LATE_S)
        late_s = silent_s if late and not self._view.paused else None
        self._view = replace(self._view, width=width, height=height, late_s=late_s)
        lines: Sequence[str] | None = screen.rest(self._frame, width) if self._rest else None
        if self._reader is not None:
            lines = self._reader.lines()
        if lines is not None and self._view.page is not None:
            self._view = replace(self._view, page=replace(self._view.page, lines=tuple(lines)))
        self._terminal.paint(screen.draw(self._frame, self._view))

    def _woken(self, numbers: set[int]) -> None:
        if signal.SIGTSTP in numbers:
            self._terminal.suspend()
        elif signal.SIGCONT in numbers:
            self._terminal.resume()
        elif signal.SIGWINCH in numbers:
            self._terminal.forget()  # terminals rewrap long lines differently

    def _take(self, frame: Frame | None) -> None:
        self._came_at = time.monotonic()
        if not self._view.paused:
            self._frame = frame
            if self._reader is not None and frame is not None:
                self._reader.again(frame)

    def _press(self, name: str) -> None:
        self._view = replace(self._view, message=None)
        if name == "redraw":
            self._terminal.forget()
        elif name == "interrupt":
            self._over = True
        elif self._view.page is not None:
            self._page_key(name)
        elif name == "q":
            self._over = True
        elif self._frame is not None:
            self._command(name, self._frame)

    def _command(self, name: str, frame: Frame) -> None:
        view = self._view
        if name in _ALONG:
            self._move(frame, _ALONG[name])
        elif name in _LEAPS:
            self._view = screen.scrolled(frame, view, _LEAPS[name] * self._half_screen)
        elif name == "s":
            self._view = replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
        elif name == "p":
            self._view = replace(view, paused=not view.paused)
            self._frame = self._frames.newest() if view.paused else frame
        elif name in _OPENS:
            self._open(_OPENS[name], frame)

    def _move(self, frame: Frame, by: int) -> None:
        """Select another run; if there is only one, scroll its ranks."""
        jobs = in_order(frame)
        now = chosen(frame, self._view.selected)
        if now is None or len(jobs) == 1:
            self._view = screen.scrolled(frame, self._view, by)
            return
        to = min(max(0, jobs.index(now) + by), len(jobs) - 1)
        self._view = replace(self._view, selected=key(jobs[to]), scroll=0)

    def _open(self, what: What, frame: Frame) -> None:
        job = chosen(frame, self._view.selected)
        if what == "help":
            page = Page(title="help", lines=tuple(screen.HELP))
        elif what == "rest":
            page = Page(title="processes of others, events, advice")
        elif job is None:
            self._view = replace(self._view, message="no run is here")
            return
        else:
            top = None if what == "log" else 0
            page = Page(title=f"{what} of {job.name}", lines=("reading …",), top=top)
            self._reader = _Reader(self._pages, job, what, self._terminal.wake)
        self._rest = what == "rest"
        self._view = replace(self._view, page=page)

    def _page_key(self, name: str) -> None:
        """Handle a key while a page is open."""
        by = _ALONG.get(name) or _LEAPS.get(name, 0) * self._half_screen or _ENDS.get(name)
        if name in {keys.ESCAPE, "q", "left"}:
            self._rest, self._reader = False, None
            self._view = replace(self._view, page=None)
        elif by is not None and self._frame is not None:
            self._view = screen.scrolled(self._frame, self._view, by)

    @property
    def _half_screen(self) -> int:
        return max(1, (self._view.height or 0) // 2)


class _Reader:
    """A page that is read in a thread, and again with every frame."""

    def __init__(self, pages: Pages, job: JobRow, kind: Kind, wake: Callable[[], None]) -> None:
        self._pages, self._job, self._kind, self._wake = pages, job, kind, wake
        self._found: Sequence[str] | Exception | None = None
        self._busy = False
        self._start()

    def again(self, frame: Frame) -> None:
        """Read the page again, with the newest row of its job."""
        jobs = (job for job in frame.jobs if key(job) == key(self._job))
        self._job = next(jobs, self._job)
        if not self._busy:
            self._start()

    def lines(self) -> Sequence[str] | None:
        """The lines read since; ``None``: nothing new. An unexpected error is raised here."""
        found, self._found = self._found, None
        if isinstance(found, Exception):
            raise found
        return found

    def _start(self) -> None:
        self._busy = True
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            self._found = self._pages(self._job, self._kind)
        except GpuopsError as problem:
            self._found = [problem.message, problem.hint]
        except OSError as problem:
            self._found = [f"It cannot be read: {problem.strerror or problem}."]
        except Exception as problem:  # noqa: BLE001 - raised again where it is seen
            self._found = problem
        self._busy = False
        self._wake()
