"""Charts as HTML: lines in SVG that stretch with the page, and text that does not.

The page's script computes the values from the points, integers on a square of 10,000.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from gpuops.core.report.curves import Chart, Curve, thinned
from gpuops.core.report.history import Mark
from gpuops.core.report.scale import Scale, value_axis

SIDE = 10_000
COLOURS = 8
USUAL = {"train": 0, "val": 1}  # a split has the same colour in every chart
MARKS = {"hung": "hung", "crashed": "crashed", "suspected": "suspected", "attempt": "next attempt"}
FEW = 40  # up to so many points are drawn as dots, too
MOST_POINTS = 4_800  # in one chart


def chart(drawn: Chart, along: Scale, marks: Sequence[Mark], size: str) -> str:
    """A chart with its legend, axes and marks."""
    scale = value_axis(drawn)
    most = max(100, MOST_POINTS // len(drawn.curves))
    curves = [thinned(curve, most) for curve in drawn.curves]
    places = [
        (place, kind_class(mark.kind), mark.words)
        for mark in marks
        if (at := mark.running_s if drawn.over == "time" else mark.step) is not None
        and 0 <= (place := along.place(at)) <= 1
    ]
    attributes = (
        f'data-over="{drawn.over}" data-x="{along.low!r},{along.high!r}" '
        f'data-y="{scale.low!r},{scale.high!r},{int(scale.logarithmic)}"'
    )
    about = (drawn.unit, "medians" * drawn.varies, "logarithmic" * scale.logarithmic)
    unit = f'<span class="unit">{escape(", ".join(filter(None, about)))}</span>'
    return (
        f'<figure class="chart {size}" {attributes}><figcaption><h3>{escape(drawn.title)}</h3>'
        f'{unit}<span class="where"></span>{_legend(drawn)}</figcaption><div class="plot">'
        f"{_labels(drawn, along, scale)}"
        f'<svg viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(_describe_chart(drawn))}">{_grid(scale)}'
        + "".join(f'<path class="mark {kind}" d="M{_int(x)} 0V{SIDE}"/>' for x, kind, _ in places)
        + "".join(_line(number, curve, along, scale) for number, curve in enumerate(curves))
        + "</svg>"
        + "".join(
            f'<i class="flag {kind}" style="left:{100 * x:.2f}%" title="{escape(words)}"></i>'
            for x, kind, words in places
        )
        + "</div></figure>"
    )


def time_label(seconds: float) -> str:
    """A round time, for an axis: ``30 s``, ``5 min``, ``1:30 h``."""
    if seconds < 60:
        return f"{seconds:g} s" if seconds else "0"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02} min" if rest else f"{minutes} min"
    if seconds < 86400:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours}:{minutes:02} h" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _legend(drawn: Chart) -> str:
    """The curves' colours, names, and medians or last values (of all points)."""
    entries = []
    for number, curve in enumerate(drawn.curves):
        value = statistics.median_high(curve.values) if drawn.varies else curve.values[-1]
        entries.append(
            f'<li style="--line:var(--c{_colour(number, curve)})">{escape(curve.name)} '
            f"<output>{figure(value)}</output></li>"
        )
    return f"<ul>{''.join(entries)}</ul>"


def _labels(drawn: Chart, along: Scale, scale: Scale) -> str:
    up = [
        f'<span class="y" style="bottom:{100 * scale.place(tick):.2f}%">{figure(tick)}</span>'
        for tick in scale.ticks()
    ]
    time = drawn.over == "time"
    ticks, label = (along.times(), time_label) if time else (along.ticks(6), _step_label)
    out = [
        f'<span class="x" style="left:{100 * along.place(tick):.2f}%">{label(tick)}</span>'
        for tick in ticks
    ]
    return "".join((*up, *out))


def figure(value: float) -> str:
    """A value with four digits, as the page's script shows it."""
    if value and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{float(f'{value:.4g}'):.10g}"


def _step_label(step: float) -> str:
    """A step with few digits: ``2.5k``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if step >= 10 * size or (step >= size and step % (size / 10) == 0):
            return f"{step / size:g}{letter}"
    return f"{step:g}"


def _grid(scale: Scale) -> str:
    lines = "".join(f"M0 {_int(1 - scale.place(tick))}H{SIDE}" for tick in scale.ticks())
    return f'<path class="grid" d="{lines}"/>'


def _line(number: int, curve: Curve, along: Scale, scale: Scale) -> str:
    pieces = [
        [(_int(along.place(x)), _int(1 - scale.place(y))) for x, y in piece]
        for piece in curve.pieces
    ]
    style = f'style="--line:var(--c{_colour(number, curve)})"'
    drawn = f'<path class="line" {style} d="{"".join(map(_path, pieces))}"/>'
    if sum(map(len, pieces)) <= FEW:
        points = "".join(f"M{x} {y}h0" for piece in pieces for x, y in piece)
        drawn += f'<path class="points" {style} d="{points}"/>'
    return drawn


def _path(piece: Sequence[tuple[int, int]]) -> str:
    """A piece of a line; a single point is a line to itself, drawn as a dot."""
    steps = [f"{end[0] - begin[0]} {end[1] - begin[1]}" for begin, end in pairwise(piece)]
    return f"M{piece[0][0]} {piece[0][1]}l{' '.join(steps or ['0 0'])}"


def _colour(number: int, curve: Curve) -> int:
    return USUAL.get(curve.name, number % COLOURS)


def _int(place: float) -> int:
    return round(SIDE * place)


def kind_class(kind: str) -> str:
    """The CSS class of a kind of mark."""
    return kind if kind in MARKS else "other"


def _describe_chart(drawn: Chart) -> str:
    """A chart in words, for screen readers."""
    ends = [
        f"{curve.name} from {figure(curve.values[0])} to {figure(curve.values[-1])}"
        for curve in drawn.curves
    ]
    return f"{drawn.title} {drawn.unit}: {'; '.join(ends)}"
