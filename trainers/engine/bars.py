"""Bars for a terminal: counts as lines of text, and how far something is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

WIDTH = 40
T = TypeVar("T")
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(counts: Mapping[str, int], width: int = WIDTH) -> Iterator[str]:
    """A line for each name: the name, a bar, the count and its share of all."""
    most, total = max(counts.values(), default=0) or 1, sum(counts.values()) or 1
    names = max(map(len, counts), default=0)
    numbers = max((len(f"{count:,}") for count in counts.values()), default=0)
    for name, count in counts.items():
        eighths = max(round(8 * width * count / most), 1 if count else 0)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        yield f"{name:>{names}}  {bar:<{width}}  {count:>{numbers},}  {count / total:4.0%}"


def bins(values: Sequence[int], most: int = 12) -> dict[str, int]:
    """Counts of values from ... to ..., in up to ``most`` steps of a round width."""
    low, high = min(values), max(values)
    step = _round_up((high - low + 1) / most)
    begin = low // step * step
    counts = dict.fromkeys(range(begin, high + 1, step), 0)
    for value in values:
        counts[begin + (value - begin) // step * step] += 1
    if step == 1:
        return {f"{start:,}": count for start, count in counts.items()}
    return {f"{start:,} to {start + step - 1:,}": count for start, count in counts.items()}


def tracked(items: Sequence[T], doing: str, *, quiet: int) -> Iterable[T]:
    """The items, with a bar that goes when all are done; fewer than ``quiet`` take no time."""
    if len(items) < quiet or not sys.stderr.isatty():
        return items
    from rich.console import Console  # noqa: PLC0415 - only if there is something to show
    from rich.progress import track  # noqa: PLC0415

    return track(items, doing, console=Console(stderr=True), transient=True)


def _round_up(width: float) -> int:
    """The least of 1, 2, 5, 10, 20, 50 ... that is not less."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power >= width:
                return digit * power
        power *= 10
