"""A drill on the screen, one line after each fault."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpuops.core.drill import Row

COLUMNS = (
    ("", 1), ("fault", 10), ("found in", 8), ("as", 20), ("culprit", 14), ("new step", 8),
    ("lost", 4), ("weights", 7), ("left", 4),
)  # fmt: skip


def header(hang_timeout_s: float, cold_start_s: float | None) -> RenderableType:
    """The conditions of the drill, and the names of the columns."""
    start = "" if cold_start_s is None else f"; a cold start takes {cold_start_s:.1f} s"
    conditions = f"hang timeout {hang_timeout_s:g} s, two ranks over gloo{start}"
    return Group(Text(conditions, style="dim"), _line([name for name, _ in COLUMNS], "dim"))


def row(found: Row) -> RenderableType:
    """One fault; below it what went wrong."""
    mark = Text("✓", style="bold green") if found.passed else Text("✗", style="bold red")
    guessed = found.culprit == "right" and found.sure is False
    cells: list[str | Text] = [
        mark,
        Text(found.fault, style="bold"),
        _seconds(found.detected_s),
        found.kind or "—",
        "right (unsure)" if guessed else found.culprit or "—",
        _seconds(found.recovered_s),
        "—" if found.steps_lost is None else str(found.steps_lost),
        "equal" if found.same_weights else Text("differ", style="red"),
        str(len(found.left) or "—"),
    ]
    return Group(_line(cells), *(Text(f"  {wrong}", style="red") for wrong in found.wrong))


def closing(rows: list[Row]) -> RenderableType:
    """Whether this host recovers."""
    if failed := [found.fault for found in rows if not found.passed]:
        summary = f"{len(failed)} of {len(rows)} faults went wrong: {', '.join(failed)}"
        return Text(summary, style="bold red")
    count = f"all {len(rows)} faults" if len(rows) > 1 else f"the fault {rows[0].fault}"
    return Text(f"recovered from {count} as it should", style="bold green")


def _line(cells: Sequence[str | Text], style: str = "") -> RenderableType:
    """A line with fixed widths, since each line is printed alone."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for _, width in COLUMNS:
        table.add_column(width=width, no_wrap=True, style=style)
    table.add_row(*cells)
    return table


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f} s"
