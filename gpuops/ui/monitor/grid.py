"""Lines of cells in columns, cut to a width in terminal cells; ``rich.Table`` is too slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.text import Span, Text

from gpuops.text import printable

Cell = tuple[str, str]  # words, and their style

DASH = "—"
DIM = "dim"
LONGEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    ``keep``: columns with a lower value are kept longer when room is short. ``least``: the minimum
    width; ``None``: it is shown whole or not at all. ``newest``: it is cut at its beginning.
    """

    head: str
    keep: int
    right: bool = True
    least: int | None = None
    newest: bool = False


def width_of(words: str) -> int:
    """How many cells a text takes: a Chinese character takes two."""
    return len(words) if words.isascii() else cell_len(words)


def clean(words: str) -> str:
    """Text of unknown origin on one line, without control characters."""
    return words if words.isprintable() else printable(words, LONGEST)


def cut(words: str, width: int) -> str:
    """The text cut to ``width``, with an ellipsis where it was cut."""
    if width_of(words) <= width:
        return words
    return set_cell_size(words, width - 1).rstrip() + "…" if width > 0 else ""


def joined(pieces: Iterable[Cell]) -> Text:
    """Pieces as one line."""
    words: list[str] = []
    spans: list[Span] = []
    at = 0
    for piece, style in pieces:
        if style and piece:
            spans.append(Span(at, at + len(piece), style))
        words.append(piece)
        at += len(piece)
    return Text("".join(words), spans=spans, no_wrap=True, end="")


def trimmed(pieces: Sequence[Cell], width: int) -> Text:
    """Pieces as one line, no wider than ``width``."""
    kept: list[Cell] = []
    for piece, style in pieces:
        shown = cut(piece, width)
        kept.append((shown, style))
        width -= width_of(shown)
        if shown != piece or width <= 0:
            break
    return joined(kept)


def beside(left: Sequence[Cell], right: Sequence[Cell], width: int) -> Text:
    """One line with ``right`` at its right end, which is dropped first if there is no room."""
    room = width - sum(width_of(words) for words, _ in (*left, *right))
    return joined((*left, (" " * room, ""), *right)) if room > 0 else trimmed(left, width)


def flowed(
    parts: Sequence[Cell], width: int, first: int | None = None, between: str = " · "
) -> list[list[Cell]]:
    """Parts with separators, on as many lines as they need."""
    lines: list[list[Cell]] = []
    used = width
    for words, style in parts:
        wide = width_of(words)
        room = first if first is not None and len(lines) == 1 else width
        if not lines or used + len(between) + wide > room:
            lines.append([(words, style)])
            used = wide
        else:
            lines[-1] += [(between, DIM), (words, style)]
            used += len(between) + wide
    return lines


def wrapped(words: str, width: int, begin: int = 0) -> list[str]:
    """A sentence, broken between words; a word wider than a line breaks anywhere.

    ``begin`` cells of the first line are already used.
    """
    width = max(2, width)
    lines, left = [""], width - begin
    for word in words.split():
        need = width_of(word) + bool(lines[-1])
        if need <= left:
            lines[-1] += f" {word}" if lines[-1] else word
            left -= need
        else:
            lines += chop_cells(word, width) if width_of(word) > width else [word]
            left = width - width_of(lines[-1])
    return lines


def folded(line: str, width: int) -> list[str]:
    """A log line broken at any letter, with its indentation."""
    shown = clean(line.expandtabs())
    return [shown] if width_of(shown) <= width else list(chop_cells(shown, max(2, width)))


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """The width of each column; 0: it is left out, because it is empty or there is no room."""
    gap = gap_at(width)
    wanted = [
        max(width_of(column.head), *(width_of(row[i][0]) for row in rows))
        if any(row[i][0] for row in rows)
        else 0
        for i, column in enumerate(columns)
    ]
    widths = [0] * len(columns)
    dearest = sorted((i for i, want in enumerate(wanted) if want), key=lambda i: columns[i].keep)
    spare = width + gap
    for i in dearest:
        least = columns[i].least
        need = wanted[i] if least is None else min(least, wanted[i])
        if spare >= gap + need:
            widths[i] = need
            spare -= gap + need
    if dearest and not any(widths):
        widths[dearest[0]], spare = width, 0
    for i in dearest:
        if widths[i] and widths[i] < wanted[i]:
            more = min(spare, wanted[i] - widths[i])
            widths[i] += more
            spare -= more
    return widths


def gap_at(width: int) -> int:
    """The space between columns."""
    return 1 if width < 100 else 2


def heads(columns: Sequence[Column], widths: Sequence[int], width: int) -> Text:
    """The names of the columns."""
    return line(columns, widths, [(column.head, DIM) for column in columns], width)


def line(
    columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Cell], width: int
) -> Text:
    """One row."""
    gap = gap_at(width)
    there = [each for each in zip(columns, widths, cells, strict=True) if each[1]]
    pieces: list[Cell] = []
    begin = used = 0
    for place, (column, wide, (words, style)) in enumerate(there):
        if words:
            room = wide
            if not column.right and width_of(words) > wide:  # on over empty cells that follow
                for _, more, (others, _) in there[place + 1 :]:
                    if others:
                        break
                    room += gap + more
            seen = words[-room:] if column.newest else cut(words, room)
            takes = width_of(seen)
            lead = begin - used + (wide - takes if column.right else 0)
            pieces += [(" " * lead, ""), (seen, style)]
            used += lead + takes
        begin += wide + gap
    return joined(pieces)
