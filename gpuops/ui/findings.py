"""What preflight found, as a table; and errors, as a sentence and a hint."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gpuops.core.finding import Finding
from gpuops.errors import GpuopsError

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


def findings(found: Sequence[Finding]) -> RenderableType:
    """One row a check; the hint below what needs one."""
    table = Table.grid(padding=(0, 1, 0, 1))
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        mark, colour = MARKS[finding.severity]
        words = Text(finding.summary)
        if finding.hint:
            words.append(f"\n{finding.hint}", style="dim")
        table.add_row(Text(mark, style=f"bold {colour}"), finding.check, words)
    return Group(Text("preflight", style="bold cyan"), table)


def error(problem: GpuopsError) -> RenderableType:
    """A sentence that says what is wrong, and what to do."""
    text = Text.from_markup(f"[bold red]error:[/] {escape(problem.message)}")
    if problem.hint:
        text.append(f"\nhint: {problem.hint}", style="dim")
    return text
