"""Figures that change: as many points as a picture can show, and none of the peaks lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

MOST_POINTS = 800
MOST_PIECES = 100
RATIO_FOR_LOG = 30.0
FARTHEST = 1e300  # what is beyond is no figure, and its picture no picture

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A named figure, drawn in ``pieces``: between them it was not known, or began anew."""

    name: str
    pieces: tuple[tuple[Point, ...], ...]

    @property
    def values(self) -> list[float]:
        """All that it was."""
        return [y for piece in self.pieces for _, y in piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves that belong into one picture, over steps or over seconds of running.

    ``floor`` and ``ceiling`` are shown in any case: where it matters how far a value is from them.
    ``varies``: a curve is told by its median, and not by where it ended.
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
        """Whether its values are so far apart that a straight scale would hide the small ones."""
        values = sorted(value for curve in self.curves for value in curve.values)
        if not values or values[0] <= 0 or self.floor is not None:
            return False
        low, high = values[len(values) // 50], values[len(values) * 49 // 50]
        return high / low > RATIO_FOR_LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What a figure usually was, and how far it went."""

    least: float
    median: float
    most: float


def fits(value: float) -> bool:
    """Whether a number can be drawn: it is finite, and not absurd."""
    return -FARTHEST < value < FARTHEST


def spread(values: Iterable[float]) -> Spread | None:
    """Of some values; ``None`` where there are none."""
    known = sorted(values)
    if not known:
        return None
    return Spread(least=known[0], median=known[len(known) // 2], most=known[-1])


def curve(name: str, points: Iterable[tuple[float, float | None]]) -> Curve:
    """A curve of points in the order in which they came.

    It breaks where a value is not known or not finite, and where it goes back: steps that were
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
    """About so many points: the first, the last, and of neighbours the lowest and the highest."""
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
