"""Units of memory, counts in words, and text of unknown origin made safe to show."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

MIB, GIB = 1 << 20, 1 << 30  # bytes

REPLACE = "gpuops.replace"  # how to encode what an encoding does not have
# One sign for one, so that columns stay columns.
_SIGNS = str.maketrans("✓✗—─━→↑↓▸·…°▁▂▃▄▅▆▇█", "+x--->^v>.. _.-=+*%#")
_UNUSUAL = re.compile("[^\n\t -~]")
_SPACES = frozenset("\xa0\u1680\u202f\u205f\u3000").union(map(chr, range(0x2000, 0x200B)))
_COLOUR = re.compile("(\x1b\\[[0-9;:]{0,40}m)")
_END_OF_COLOUR = "\x1b[0m"


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
    return _cut(visible(" ".join(text.split())), most)


def printable(text: str, most: int) -> str:
    """The text on one line of at most ``most`` characters, without control characters."""
    return _cut("".join(letter if letter.isprintable() else "?" for letter in text), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def visible(text: str, instead: Callable[[str], str] = lambda _: "?") -> str:
    """The text with a ``?`` for each character that a terminal acts upon instead of showing it.

    Newlines and tabs stay. So do halves of surrogate pairs, which stand for bytes that are not
    UTF-8: how they are written is the encoding's affair.
    """
    return _UNUSUAL.sub(lambda at: at[0] if _is_shown(at[0]) else instead(at[0]), text)


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or letter in _SPACES or "\ud800" <= letter <= "\udfff"


def coloured(line: str) -> str:
    """A line of a program as a terminal may show it: in its colours, which end with the line."""
    parts = _COLOUR.split(line)
    shown = [part if number % 2 else visible(part) for number, part in enumerate(parts)]
    return "".join(shown) + _END_OF_COLOUR * (len(parts) > 1)


def colourless(line: str) -> str:
    """A line of a program without its colours."""
    return _COLOUR.sub("", line)


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Encode a sign of ours as the one most like it, and all else as its number in Unicode."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end].translate(_SIGNS)
    return signs.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(REPLACE, _replace)
