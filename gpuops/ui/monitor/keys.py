"""What a terminal sends when somebody types, as names of keys."""

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
    """The keys of what was read; and the beginning of one of which more may come.

    Keys that have no name here are left out: a sequence is never taken for its letters.
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
    """What the beginning of a sequence was if nothing more comes: the key Esc, or nothing."""
    return [ESCAPE] if data == b"\x1b" else []
