"""Tables and sizes as all commands here show them."""

from __future__ import annotations

from rich.table import Table


def quiet_table(first: str, *numbers: str) -> Table:
    """Make a table without lines: names in its first column, numbers on the right of the others."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def format_bytes(size: int) -> str:
    """Format bytes as ``43 KiB``, ``37 MiB``, ``1.25 GiB``."""
    if size >> 30:
        return f"{size / 2**30:.2f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >> 20 else f"{size / 2**10:.0f} KiB"
