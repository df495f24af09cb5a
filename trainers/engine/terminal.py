"""What stdout and stderr let pass: text and colours, in any encoding.

Names of samples, files and checkpoints are anybody's: none of them may control a terminal.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any

_UNUSUAL = re.compile("(\x1b\\[[0-9;]{0,40}m)|[^\n\t -~]")
_SPACES = frozenset("\xa0\u1680\u202f\u205f\u3000").union(map(chr, range(0x2000, 0x200B)))


class TextOnly:
    """A stream that writes ``?`` for each character that a terminal acts upon, except colours.

    On a terminal rich moves its bars on stderr by ``rich_proxied_file``.
    """

    def __init__(self, stream: Any, *, bars: bool) -> None:
        self._stream = stream
        if bars:
            self.rich_proxied_file = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        self._stream.write(visible(text))
        return len(text)


def visible(text: str) -> str:
    """The text as a terminal may show it."""
    return _UNUSUAL.sub(lambda at: at[0] if at[1] or _is_shown(at[0]) else "?", text)


def install() -> None:
    """Let only text out; what is written to a missing stream is dropped."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name) or open(os.devnull, "w")  # noqa: PTH123, SIM115
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, TextOnly(stream, bars=name == "stderr"))


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or letter in _SPACES or "\ud800" <= letter <= "\udfff"
