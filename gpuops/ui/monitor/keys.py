"""Parses what a terminal sends into names of keys."""

from __future__ import annotations

import re

ESCAPE = "esc"
# What arrows and their neighbours send: a control sequence (CSI), or a single shift (SS3).
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Za-z]|[^\[O\x1b])")
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_NAMES = {
    b"A": "up", b"B": "down", b"C": "right", b"D": "left", b"H": "home", b"F": "end",
    b"1~": "home", b"4~": "end", b"5~": "page up", b"6~": "page down", b"7~": "home", b"8~": "end",
}  # fmt: skip
_CONTROLS = {b"\r": "enter", b"\n": "enter", b"\t": "tab", b"\x0c": "redraw", b"\x03": "interrupt"}


def pressed(data: bytes) -> tuple[list[str], bytes]:
    """The keys in the input, and the beginning of a sequence that is not complete yet.

    Keys without a name here are skipped: a sequence is never read as single letters.
    """
    keys: list[str] = []
    while data:
        if found := _SEQUENCE.match(data):
            name = _NAMES.get(found.group()[2:])
            keys += [name] if name else []
            data = data[found.end() :]
        elif _BEGUN.match(data):
            return keys, data
        elif data.startswith(b"\x1b"):
            keys.append(ESCAPE)
            data = data[1:]
        else:
            letter, data = data[:1], data[1:]
            name = _CONTROLS.get(letter)
            if name is None and b" " <= letter <= b"~":
                name = letter.decode()
            keys += [name] if name else []
    return keys, b""


def alone(data: bytes) -> list[str]:
    """The key of an incomplete sequence after which nothing came: Esc, or none."""
    return [ESCAPE] if data == b"\x1b" else []
