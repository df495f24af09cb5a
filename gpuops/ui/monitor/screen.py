"""The monitor's screen: a frame in, lines out. It has no clock and no terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.text import Text

from gpuops.core.monitor.frame import Frame, Health
from gpuops.text import many
from gpuops.ui import words
from gpuops.ui.monitor import grid
from gpuops.ui.monitor.gpus import SEVERITY, Sort, gpus, numbers
from gpuops.ui.monitor.grid import DIM, Cell, clean
from gpuops.ui.monitor.jobs import Jobs, wanted
from gpuops.ui.monitor.rows import BAD, DOUBT, GOOD, OTHERS, OURS, STATES, STRANGERS, WARM, stranger

PLAIN_WIDTH = 200
JOBS_LEAST = 8
HEADER_LEAST = 24
ABOUT_LEAST = 2
TAIL_LEAST = 3

HEALTHS: dict[Health, Cell] = {
    "fine": (" FINE ", f"bold {GOOD}"),
    "degraded": (" DEGRADED ", DOUBT),
    "hung": (" HUNG ", BAD),
    "no driver": (" NO DRIVER ", DIM),
}
LEVELS = {"info": "", "good": GOOD, "warning": WARM, "bad": "bold red"}

HELP = """\
q  Ctrl-C     leave; the jobs are not touched
↑ ↓  k j      another run; of one run alone, the hidden ranks
PgUp PgDn     the hidden ranks of the selected run
l  Enter      its log
d             its diagnosis
e             processes of others, events, advice, what could not be read
s             sort: as numbered, by use, by memory, by age
p             pause the screen; jobs and sampling go on
Ctrl-L  Esc   draw the screen again; back

OK            idle, or at work for a run of gpuops
BUSY-OTHER    another user computes on it
EXCLUDED      a running job leaves it out, or a scheduler gave it to others
USERS UNKNOWN its processes cannot be listed: it may be in use
STUCK  LOST   the driver does not answer; it has fallen off the bus

speed  usual  steps per second now, and as a share of its own median
data          the share of a step that it waits for data
moved         since its last new step or phase
beat          since its last heartbeat, which is not progress
!             this rank causes the run's trouble
—             not available; never zero""".splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A text over the screen, from its line ``top`` on; ``None``: its end."""

    title: str
    lines: tuple[str, ...] = ()
    top: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the user has chosen to see of a frame.

    ``height``: ``None`` for as many lines as needed. ``selected`` is the key of a job, ``scroll``
    how many of its ranks are scrolled past. ``late_s``: how long a new frame is overdue.
    """

    width: int = 80
    height: int | None = 24
    sort: Sort = "order"
    paused: bool = False
    selected: str | None = None
    scroll: int = 0
    interval_s: float | None = None
    message: str | None = None
    late_s: float | None = None
    page: Page | None = None


def draw(frame: Frame, view: View) -> list[Text]:
    """The lines of the screen, no wider and no more than the view allows."""
    return _page(view.page, view)[0] if view.page else _screen(frame, view)[0]


def plain(frame: Frame, width: int | None = None) -> list[str]:
    """The whole frame as lines for a pipe; wide, so that ``grep`` finds a row on one line."""
    view = View(width=width or PLAIN_WIDTH, height=None)
    return [line.plain.rstrip() for line in draw(frame, view)]


def scrolled(frame: Frame, view: View, by: int) -> View:
    """The view moved by so many lines, within its limits."""
    if view.page is not None:
        most = _page(view.page, view)[1]
        top = most if view.page.top is None else min(view.page.top, most)
        top = min(max(0, top + by), most)
        at_end = top == most and by > 0
        return replace(view, page=replace(view.page, top=None if at_end else top))
    most = _screen(frame, view)[1]
    return replace(view, scroll=min(max(0, min(view.scroll, most) + by), most))


def rest(frame: Frame, width: int) -> list[str]:
    """What may not fit on the screen: processes of others, events, advice, gaps."""
    sections = _tail(frame, width).values()
    lines = [line.plain.rstrip() for section in sections for line in (*section, Text())]
    return lines or ["No events, and no processes of others."]


# ------------------------------------------------------------------------------------- the screen


def _screen(frame: Frame, view: View) -> tuple[list[Text], int]:
    """The lines, and the maximal scroll of the selected run's ranks."""
    width, height = view.width, view.height
    head = _header(frame, view)
    tail = _tail(frame, width)
    if height is None:
        rows = gpus(frame, width=width, room=None)
        jobs = Jobs(frame, width=width, room=None, piped=True)
        return _spaced([head, rows, jobs.lines, *tail.values()], None), 0
    head = head[: max(1, height // 4)]
    room = height - len(head) - 1
    most = max(1, room // 2, room - min(wanted(frame), JOBS_LEAST))
    rows = gpus(frame, width=width, room=most, sort=view.sort)
    left = room - len(rows)
    jobs = Jobs(
        frame,
        width=width,
        room=left,
        selected=view.selected,
        scroll=view.scroll,
        by_age=view.sort == "age",
    )
    shown, hidden = _tail_in(tail, left - len(jobs.lines))
    body = _spaced([head, rows, jobs.lines, *shown], height - 1)[: height - 1]
    blank = [Text()] * (height - 1 - len(body))
    foot = [_footer(frame, view, hidden)] if height > 1 else []
    return [*(body or head[:1]), *blank, *foot], jobs.most_scroll


def _spaced(sections: Sequence[list[Text]], height: int | None) -> list[Text]:
    """Sections below each other, with a blank line between two if there is room."""
    filled = [section for section in sections if section]
    spare = len(filled) if height is None else height - sum(map(len, filled))
    # If lines are scarce, the jobs are set off first: GPUs and jobs matter most.
    first = [1, 2, 0, *range(3, len(filled))][: max(0, min(spare, len(filled) - 1))]
    lines: list[Text] = []
    for place, section in enumerate(filled):
        lines += section
        if place in first and place < len(filled) - 1:
            lines.append(Text())
    return lines


def _header(frame: Frame, view: View) -> list[Text]:
    """``HUNG  8 GPUs: 3 idle (0 2 5) · 4 ours · 1 other   driver 550 · CUDA 12.4   03:12:45``."""
    badge = HEALTHS[frame.health]
    counts, about = _counts(frame), _describe_host(frame, view)
    right: list[Cell] = [(words.clock(frame.at_s), "bold")]
    if view.late_s is not None:
        right[:0] = [(f" no reading for {words.brief(view.late_s)} ", BAD), (" ", "")]
    indent = len(badge[0]) + 1
    first = view.width - indent - sum(grid.width_of(piece) for piece, _ in right) - 2
    if first < HEADER_LEAST:
        lines = grid.flowed([*counts, *about], view.width)
        top = grid.beside([badge], right, view.width)
        return [top, *(grid.trimmed(each, view.width) for each in lines)]
    for shown in (len(about), ABOUT_LEAST):  # the text on the driver is worth a second line
        lines = grid.flowed([*counts, *about[:shown]], view.width - indent, first)
        if len(lines) <= 2:
            break
    top = grid.beside([badge, (" ", ""), *lines[0]], right, view.width)
    return [top, *(grid.trimmed([(" " * indent, ""), *each], view.width) for each in lines[1:])]


def _counts(frame: Frame) -> list[Cell]:
    there = frame.gpus
    if not there:
        return [("no GPUs", "")]
    idle = [row.index for row in there if row.idle]
    total = f"{many(len(there), 'GPU')}: "
    which = f" ({numbers(idle)})" if idle else ""
    parts: list[Cell] = [(f"{total}{len(idle)} idle{which}", GOOD if idle else "")]
    if ours := sum(row.state == "ok" and not row.idle for row in there):
        parts.append((f"{ours} ours", OURS))
    for state in ("busy-other", *SEVERITY[:-2]):
        name, style = STATES[state]
        those = [row.index for row in there if row.state == state]
        if state == "busy-other" and those:
            parts.append((f"{len(those)} other", OTHERS))
        elif those:
            parts.append((f"{len(those)} {name.lower()} ({numbers(those)})", style))
    return parts


def _describe_host(frame: Frame, view: View) -> list[Cell]:
    models = {clean(words.short_model(row.name)) for row in frame.gpus if row.name}
    parts = [
        frame.driver and f"driver {clean(frame.driver)}",
        frame.cuda and f"CUDA {frame.cuda[0]}.{frame.cuda[1]}",
        models.pop() if len(models) == 1 else None,
        view.interval_s and f"every {view.interval_s:g} s",
    ]
    return [(part, DIM) for part in parts if part]


# ---------------------------------------------------------------------- below GPUs and jobs


def _tail(frame: Frame, width: int) -> dict[str, list[Text]]:
    """Processes of others, events, advice, gaps: each section's lines."""
    happened = [
        (f"{words.clock(one.at_s)}  ", one.words, LEVELS[one.level])
        for one in sorted(frame.changes, key=lambda one: -one.at_s)
    ]
    advice = [(f"{one.about}: ", one.words, "") for one in frame.advice]
    gaps = [(f"{name}: ", why, DIM) for name, why in frame.gaps.items() if name != "gpus"]
    sections = {
        "others": _strangers(frame, width),
        "events": _labelled("events", happened, width),
        "advice": _labelled("advice", advice, width),
        "unread": _labelled("unread", gaps, width),
    }
    return {label: lines for label, lines in sections.items() if lines}


def _strangers(frame: Frame, width: int) -> list[Text]:
    cells = [
        stranger(row, frame.at_s, "others" if place == 0 else "")
        for place, row in enumerate(frame.strangers)
    ]
    widths = grid.fitted(STRANGERS, cells, width) if cells else []
    return [grid.line(STRANGERS, widths, row, width) for row in cells]


def _labelled(label: str, rows: Sequence[tuple[str, str, str]], width: int) -> list[Text]:
    names = (f"{name:<7}" for name in (label, *[""] * len(rows)))
    return [
        grid.trimmed([(name, DIM), (clean(about), DIM), (clean(text), style)], width)
        for name, (about, text, style) in zip(names, rows, strict=False)
    ]


def _tail_in(
    sections: Mapping[str, list[Text]], room: int
) -> tuple[list[list[Text]], dict[str, int]]:
    """As many of the lines as fit, each section's first ones first; and how many are hidden."""
    room = max(0, room)
    takes = dict.fromkeys(sections, 0)
    for most in (1, TAIL_LEAST, room):
        for label, lines in sections.items():
            more = max(0, min(len(lines), most, takes[label] + room) - takes[label])
            takes[label] += more
            room -= more
    shown = [lines[: takes[label]] for label, lines in sections.items()]
    hidden = {label: len(lines) - takes[label] for label, lines in sections.items()}
    return shown, {label: count for label, count in hidden.items() if count}


# ------------------------------------------------------------------------------ footer and pages


def _footer(frame: Frame, view: View, hidden: Mapping[str, int]) -> Text:
    """The keys, as many as fit; before them a notice or message."""
    notice: list[Cell] = []
    if view.paused:
        notice += [(f" PAUSED at {words.clock(frame.at_s)} ", DOUBT), ("  ", "")]
    if view.message:
        notice += [(clean(view.message), WARM), ("  ", "")]
    keys = [("q", "quit"), ("h", "help")]
    if hidden:
        keys.insert(0, ("e", _hidden(hidden, view.width)))
    keys += [("l", "log"), ("d", "why")] if frame.jobs else []
    keys.insert(0 if view.paused else len(keys), ("p", "go on" if view.paused else "pause"))
    keys.append(("s", f"sort ({view.sort})"))
    keys += [("↑↓", "run")] if len(frame.jobs) > 1 else []
    return _keys(notice, keys, view.width)


def _hidden(hidden: Mapping[str, int], width: int) -> str:
    """``2 others, 1 event, 2 advice``; ``5 more`` if that is too long."""
    named = ", ".join(
        f"{count} {label.removesuffix('s') if count == 1 else label}"
        for label, count in hidden.items()
    )
    return named if 2 * len(named) < width else f"{sum(hidden.values())} more"


def _keys(notice: Sequence[Cell], keys: Sequence[tuple[str, str]], width: int) -> Text:
    pieces = list(notice)
    room = width - sum(grid.width_of(piece) for piece, _ in pieces)
    for key, does in keys:
        if (takes := len(key) + len(does) + 3) > room + 2:
            continue
        pieces += [(key, "bold"), (f" {does}  ", DIM)]
        room -= takes
    if pieces:
        pieces[-1] = (pieces[-1][0].rstrip(), pieces[-1][1])
    return grid.trimmed(pieces, width)


def _page(page: Page, view: View) -> tuple[list[Text], int]:
    """The lines of a page, and its maximal scroll."""
    lines = [part for line in page.lines for part in grid.folded(line, view.width)]
    room = len(lines) if view.height is None else max(0, view.height - 2)
    most = max(0, len(lines) - room)
    top = most if page.top is None else min(page.top, most)
    seen = [grid.joined([(line, "")]) for line in lines[top : top + room]]
    place = f"{top + 1}-{top + len(seen)} of {len(lines)}" if most else ""
    title = grid.beside([(clean(page.title), "bold")], [(place, DIM)], view.width)
    foot = _keys([], [("q Esc", "back"), ("↑↓ PgUp PgDn", "scroll")], view.width)
    blank = [Text()] * (room - len(seen))
    return [title, *seen, *blank, foot][: view.height], most
