"""Text of unknown origin, made safe to show."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    """The text on one line of at most ``most`` characters, without control characters."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
