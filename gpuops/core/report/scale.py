"""The axes of a chart: from values to places, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpuops.core.report.curves import Chart

ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
ROUND_S = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0 * n for n in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * n for n in (1, 2, 3, 6, 12)),
    *(86400.0 * n for n in (1, 2, 5, 10, 20, 50, 100)),
)
MARGIN = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis from ``low`` to ``high``; linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The place of a value: 0 at the low end, 1 at the high one."""
        low, high, value = map(self._bent, (self.low, self.high, value))
        span = high - low  # 0 for large whole numbers that differ by less than floats can
        return (value - low) / span if span > 0 else 0.5

    def ticks(self, about: int = 5) -> list[float]:
        """About so many round numbers on it."""
        if not self.logarithmic:
            return _multiples(self.low, self.high, _round_step((self.high - self.low) / about))
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, len(decades) // (about + 1))
        found = [10.0**n for n in decades[::every]]
        if len(decades) <= 3:
            found = [digit * 10.0**n for n in decades for digit in (1, 2, 5)]
        return [tick for tick in found if self.low <= tick <= self.high]

    def times(self, about: int = 6) -> list[float]:
        """About so many round times on an axis in seconds."""
        wanted_s = (self.high - self.low) / about
        step_s = next((step for step in ROUND_S if step >= wanted_s), ROUND_S[-1])
        return _multiples(self.low, self.high, step_s)

    def _bent(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


def value_axis(chart: Chart) -> Scale:
    """The axis of a chart's values, with a margin above and below."""
    values = [value for line in chart.curves for value in line.values]
    if chart.logarithmic:
        return Scale(low=min(values) / 1.15, high=max(values) * 1.15, logarithmic=True)
    low = min(values if chart.floor is None else [*values, chart.floor])
    high = max(values if chart.ceiling is None else [*values, chart.ceiling])
    margin = MARGIN * (high - low) or MARGIN * abs(high) or 1.0
    return Scale(
        low=low if low == chart.floor else low - margin,
        high=high if high == chart.ceiling else high + margin,
    )


def shared_axis(charts: Sequence[Chart], end: float | None = None) -> Scale:
    """The horizontal axis that charts share; up to ``end`` if that is further."""
    places = [
        x for chart in charts for line in chart.curves for piece in line.pieces for x, _ in piece
    ]
    low = min(places, default=0.0) if end is None else 0.0
    high = max([*places, low if end is None else end])
    return Scale(low=low, high=high if high > low else low + 1.0)


def _round_step(least: float) -> float:
    if least <= 0 or not math.isfinite(least):
        return 1.0
    size = 10.0 ** math.floor(math.log10(least))
    return next(size * digit for digit in ROUND if size * digit >= least * 0.999)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, min(last, first + 50) + 1)]
