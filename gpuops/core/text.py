"""What others wrote, made fit to be shown."""

from __future__ import annotations


def printable(text: str, most: int) -> str:
    """A text of somebody else on one line, without anything that a terminal obeys, and cut."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
