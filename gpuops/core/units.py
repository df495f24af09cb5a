"""Units of memory, and counts in words."""

from __future__ import annotations

MIB, GIB = 1 << 20, 1 << 30  # bytes


def plural(count: int, noun: str) -> str:
    """The noun as it stands after a count: ``worker``, ``workers``, ``passes``."""
    if count == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def many(count: int, noun: str) -> str:
    """``1 worker``, ``2 passes``."""
    return f"{count} {plural(count, noun)}"
