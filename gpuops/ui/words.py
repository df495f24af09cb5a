"""Numbers and times as text."""

from __future__ import annotations

import time
from pathlib import PurePath


def duration(seconds: float | None) -> str:
    """``3 s``, ``2:05``, ``1:02:05``, ``3 d 04:10``; a dash if it is not known."""
    if seconds is None:
        return "—"
    total = int(seconds)
    if total < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{total} s"
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def brief(seconds: float | None, *, tenths: bool = False) -> str:
    """``0.5s``, ``42s``, ``3m34s``, ``2h05m``, ``3d04h``: at most six letters, for a column."""
    if seconds is None:
        return "—"
    seconds = max(0.0, seconds)
    if tenths and seconds < 9.95:
        return f"{seconds:.1f}s"
    total = int(seconds)
    if total < 100:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h" if days < 100 else f"{days}d"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    stop = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{stop}"


def clock(at_s: float) -> str:
    """The time of day: ``06:12:30``."""
    return time.strftime("%H:%M:%S", time.localtime(at_s))


def ago(then_s: float | None, now_s: float) -> str:
    """``3 s ago``; a dash if it is not known."""
    return "—" if then_s is None else f"{duration(max(0.0, now_s - then_s))} ago"


def short_model(name: str | None) -> str:
    """The name of a GPU without its maker: ``RTX 4090``."""
    return (name or "—").removeprefix("NVIDIA ").removeprefix("GeForce ")


def moment(at_s: float | None) -> str:
    """Date and time of day; a dash if it is not known, or a file has it that makes no sense."""
    try:
        return "—" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
    except (TypeError, ValueError, OverflowError, OSError):
        return "—"


def figure(value: float) -> str:
    """A loss or a rate, with four digits."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}"


def speed(steps_per_s: float) -> str:
    """``8.2 steps/s``, ``46 s/step``."""
    if steps_per_s <= 0:
        return "0 steps/s"
    return f"{steps_per_s:.1f} steps/s" if steps_per_s >= 1 else f"{duration(1 / steps_per_s)}/step"


def steps(step: int | None, total: int | None) -> str:
    """``120/600``."""
    if step is None:
        return "—"
    return str(step) if total is None else f"{step}/{total}"


def place(path: PurePath | str, base: str) -> str:
    """A path relative to the folder ``base`` if it is below it."""
    whole = PurePath(path)
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
