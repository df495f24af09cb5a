"""Curves of figures, thinned to the points that a chart can show without losing peaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

MOST_POINTS = 800
MOST_PIECES = 100
RATIO_FOR_LOG = 30.0
FARTHEST = 1e300  # larger values cannot be drawn

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named figure, drawn in ``pieces``: between them it was unknown or started again."""

    name: str
    pieces: tuple[tuple[Point, ...], ...]

    @property
    def values(self) -> list[float]:
        """All its values."""
        return [y for piece in self.pieces for _, y in piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves of one chart, over steps or over seconds of running time.

    ``floor`` and ``ceiling`` are always within the axis. ``varies``: a curve is summarized by its
    median, and not by its last value.
    """

    title: str
    unit: str
    over: Literal["steps", "time"]
    curves: tuple[Curve, ...]
    floor: float | None = None
    ceiling: float | None = None
    varies: bool = False

    @property
    def logarithmic(self) -> bool:
        """Whether its values spread so far that a linear scale would hide the small ones."""
        values = sorted(value for curve in self.curves for value in curve.values)
        if not values or values[0] <= 0 or self.floor is not None:
            return False
        low, high = values[len(values) // 50], values[len(values) * 49 // 50]
        return high / low > RATIO_FOR_LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The minimum, median and maximum of a figure."""

    least: float
    median: float
    most: float


def fits(value: float) -> bool:
    """Whether a number can be drawn: it is finite, and not absurd."""
    return -FARTHEST < value < FARTHEST


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of some values; ``None`` if there are none."""
    known = sorted(values)
    return Spread(least=known[0], median=known[len(known) // 2], most=known[-1]) if known else None


def curve(name: str, points: Iterable[tuple[float, float | None]]) -> Curve:
    """A curve of points in the order in which they came.

    It breaks at values that are unknown or not finite, and where x goes back: at steps that were
    trained again.
    """
    pieces: list[list[Point]] = [[]]
    for x, y in points:
        if y is None or not (fits(y) and fits(x)):
            pieces.append([])
            continue
        if pieces[-1] and x < pieces[-1][-1][0]:
            pieces.append([])
        pieces[-1].append((x, y))
    whole = tuple(tuple(piece) for piece in pieces if piece)
    return thinned(Curve(name=name, pieces=whole))


def thinned(whole: Curve, most: int = MOST_POINTS) -> Curve:
    """The curve with about ``most`` points: the first, the last, and local extremes."""
    count = sum(map(len, whole.pieces))
    if count <= most:
        return whole
    pieces = whole.pieces
    if len(pieces) > min(MOST_PIECES, most // 4):  # more gaps than can be seen
        pieces = (tuple(sorted(point for piece in pieces for point in piece)),)
    return Curve(
        name=whole.name,
        pieces=tuple(_thinned(piece, max(2, most * len(piece) // count - 1)) for piece in pieces),
    )


def _thinned(piece: Sequence[Point], most: int) -> tuple[Point, ...]:
    if len(piece) <= most:
        return tuple(piece)
    buckets = max(1, most // 2 - 1)
    kept = {0, len(piece) - 1}
    for number in range(buckets):
        part = range(number * len(piece) // buckets, (number + 1) * len(piece) // buckets)
        kept.add(min(part, key=lambda index: piece[index][1]))
        kept.add(max(part, key=lambda index: piece[index][1]))
    return tuple(piece[index] for index in sorted(kept))
