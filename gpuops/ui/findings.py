"""Findings of preflight as a report; errors as a sentence and a hint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gpuops.core.finding import Finding
from gpuops.errors import GpuopsError
from gpuops.text import many

# From quiet to loud: what matters most comes last, right above the prompt.
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def findings(found: Sequence[Finding], simulated: str | None = None) -> RenderableType:
    """All findings: ok, then warnings, then errors, and how many of each."""
    head = Text("preflight", style="bold cyan")
    return Group(*not_here(simulated), head, _rows(found), _count(found))


def brief(found: Sequence[Finding], simulated: str | None = None) -> RenderableType:
    """Warnings and errors, and one line for the rest."""
    loud = [finding for finding in found if finding.severity != "ok"]
    quiet = Text(f"preflight: {many(len(found) - len(loud), 'check')} ok", style="dim")
    return Group(*not_here(simulated), quiet, *([_rows(loud)] if loud else []))


def not_here(simulated: str | None) -> list[Text]:
    """The first line of a report on a simulated host: ``simulated: 8x4090``."""
    return [] if simulated is None else [Text(f"simulated: {simulated}", style="bold magenta")]


def error(problem: GpuopsError) -> RenderableType:
    """An error: what is wrong, and a hint."""
    text = Text.from_markup(f"[bold red]error:[/] {escape(problem.message)}")
    if problem.hint:
        text.append(f"\nhint: {problem.hint}", style="dim")
    return text


def _rows(found: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    loudness = list(MARKS)
    for finding in sorted(found, key=lambda finding: loudness.index(finding.severity)):
        mark, colour = MARKS[finding.severity]
        words = Text(finding.summary)
        if finding.hint:
            words.append(f"\n→ {finding.hint}", style="cyan")
        weight = _weight(finding.severity)
        table.add_row(
            Text(mark, style=f"{weight} {colour}"), Text(finding.check, style=weight), words
        )
    return table


def _count(found: Sequence[Finding]) -> Text:
    """``14 ok, 2 warnings, 1 error``; a count of zero is dim."""
    counts: Counter[str] = Counter(finding.severity for finding in found)
    line = Text()
    for severity, (_, colour) in MARKS.items():
        count = counts[severity]
        line.append("" if severity == "ok" else ", ")
        line.append(
            f"{count} ok" if severity == "ok" else many(count, severity),
            style=f"{_weight(severity)} {colour}" if count else "dim",
        )
    return line


def _weight(severity: str) -> str:
    return "dim" if severity == "ok" else "bold"
