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


class Frames(Protocol):
    """A source of frames, which makes them in another thread."""

    def newest(self) -> Frame | None:
        """The newest frame, at once; ``None``: none yet. An exception ends the screen."""

    def fileno(self) -> int:
        """A pipe or an eventfd that becomes readable when there is a newer frame."""


def run(
    frames: Frames, *, interval_s: float, pages: Pages, keys_fd: int = 0, screen_fd: int = 1
) -> int | None:
    """Show frames until the user leaves; return the signal that ended it, ``None`` for key q.

    ``pages`` gives the lines of a job's log and diagnosis; it is called in another thread, so that
    a disk that does not answer delays no key. The terminal is restored in every case; if this
    process is killed (SIGKILL), by a helper; if that is killed too, the user must type ``reset``.
    """
    terminal = Terminal(keys_fd, screen_fd)
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
        self._reader = _Reader(pages, terminal.wake)
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
        if self._rest and self._view.page:
            self._turn_to(replace(self._view.page, lines=tuple(screen.rest(self._frame, width))))
        self._terminal.paint(screen.draw(self._frame, self._view))

    def _woken(self, numbers: set[int]) -> None:
        if signal.SIGTSTP in numbers:
            self._terminal.suspend()
        elif signal.SIGCONT in numbers:
            self._terminal.resume()
        elif signal.SIGWINCH in numbers:
            self._terminal.forget()  # terminals rewrap long lines differently
        lines = self._reader.read()
        if lines is not None and self._view.page and not self._rest:
            self._turn_to(replace(self._view.page, lines=tuple(lines)))

    def _take(self, frame: Frame | None) -> None:
        self._came_at = time.monotonic()
        if not self._view.paused:
            self._frame = frame
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
        view, by = self._view, _ALONG.get(name)
        if by is not None:
            self._move(frame, by)
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
        title, top = f"{_TITLES[kind]} of {job.name}", None if kind == "logs" else 0
        self._turn_to(Page(title=title, lines=("reading …",), top=top))
        self._reader.start(job, kind)

    def _turn_to(self, page: Page | None) -> None:
        self._view = replace(self._view, page=page)

    def _page_key(self, name: str) -> None:
        """Handle a key while a page is open."""
        by = _ALONG.get(name) or _LEAPS.get(name, 0) * self._half_screen or _ENDS.get(name)
        if name in {keys.ESCAPE, "q", "left"}:
            self._rest = False
            self._reader.stop()
            self._turn_to(None)
        elif by is not None and self._frame is not None:
            self._view = screen.scrolled(self._frame, self._view, by)

    @property
    def _half_screen(self) -> int:
        return max(1, (self._view.height or 0) // 2)


class _Reader:
    """Reads a page in a thread, and again with every frame while it is open."""

    def __init__(self, pages: Pages, wake: Callable[[], None]) -> None:
        self._pages, self._wake = pages, wake
        self._open: tuple[JobRow, Kind] | None = None
        self._busy = False
        self._found: tuple[tuple[JobRow, Kind], Sequence[str] | Exception] | None = None

    def start(self, job: JobRow, kind: Kind) -> None:
        """Read a page; the result of an earlier, slower read is dropped."""
        self._open = (job, kind)
        if not self._busy:
            self._busy = True
            threading.Thread(target=self._load, args=(self._open,), daemon=True).start()

    def again(self, frame: Frame | None) -> None:
        """Read the open page again, with the newest row of its job."""
        if self._open is not None and frame is not None:
            job, kind = self._open
            newer = next((each for each in frame.jobs if key(each) == key(job)), job)
            self.start(newer, kind)

    def stop(self) -> None:
        """The page is closed."""
        self._open = None

    def read(self) -> Sequence[str] | None:
        """The lines read since; ``None``: nothing new. An unexpected error is raised here."""
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

    def _load(self, page: tuple[JobRow, Kind]) -> None:
        try:
            self._found = page, self._pages(*page)
        except GpuopsError as problem:
            self._found = page, [problem.message, problem.hint or ""]
        except OSError as problem:
            self._found = page, [f"It cannot be read: {problem.strerror or problem}."]
        except Exception as problem:  # noqa: BLE001 - raised again where it is seen
            self._found = page, problem
        self._wake()
