"""Units of memory, counts in words, and text of unknown origin made safe to show."""

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


def one_line(text: str, most: int = 2000) -> str:
    """The words of a text of unknown origin, on one line that can be printed."""
    return printable(" ".join(text.split()), most)


def printable(text: str, most: int) -> str:
    """The text on one line of at most ``most`` characters, without control characters."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
