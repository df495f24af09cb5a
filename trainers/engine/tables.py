"""Tables as all commands here show them: no lines, names on the left, numbers on the right."""

from __future__ import annotations

from rich.table import Table


def quiet_table(first: str, *numbers: str) -> Table:
    """A table whose first column holds names and whose other columns hold numbers."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
