"""Runs on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from gpuops.core.run.record import RunRecord, describe_stopped
from gpuops.text import many, one_line
from gpuops.ui import words

COLOURS = {
    "running": "cyan", "finished": "green", "stopped": "yellow", "failed": "red",
    "elsewhere": "yellow", "lost": "red", "hidden": "yellow",
}  # fmt: skip

ACTIONS = {
    "Inspect": "find out why the ranks make no progress",
    "AskWorkers": "ask the workers to save and end (SIGTERM)",
    "TerminateAgent": "ask torchrun to end (SIGTERM)",
    "Kill": "kill the workers and torchrun (SIGKILL)",
}
MOST_EVENTS = 1000
LEAST_WIDTH = 10  # of a column that breaks
NOT_SHOWN = {"time", "event", "command", "memory_group", "oom_kills"}
NOT_SHOWN |= {"pids_group", "refused_forks"}


class _Columns(Table):
    """A table; each row is a paragraph if the table is too wide, since rich leaves out columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def width(column: Column) -> int:
            cells = (column.header, *column.cells)
            widest = max(Measurement.get(console, options, cell).maximum for cell in cells)
            return widest if column.no_wrap else min(widest, LEAST_WIDTH)

        if sum(width(column) + 1 for column in self.columns) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        yield from self._paragraphs(console, options.max_width)

    def _paragraphs(self, console: Console, width: int) -> Iterator[Text]:
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            paragraph = Text(overflow="fold")
            for number, (column, cell) in enumerate(zip(self.columns, cells, strict=True)):
                name = f"{column.header} " if number and column.header else ""
                value = cell if isinstance(cell, Text) else Text(str(cell))
                if value:
                    paragraph.append("  " if number else "").append(name, "dim").append_text(value)
            lines = paragraph.wrap(console, max(1, width - 2))
            for line in lines:
                line.rstrip()
            yield Text("\n  ").join(lines)
        if self.caption:
            yield Text(str(self.caption), style="dim")


def columns(*names: str, breaks: str | None = None) -> Table:
    """A table without lines; if room is short, the named column breaks, else the last."""
    table = _Columns(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name != (breaks or names[-1]))
    return table


def facts() -> Table:
    """A table of names and values without lines; long values break."""
    table = Table.grid(padding=(0, 1, 0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def figures(values: Mapping[str, float]) -> list[str]:
    """``loss 0.31`` for each value."""
    return [f"{name} {words.figure(value)}" for name, value in values.items()]


def runs(records: Sequence[RunRecord], now_s: float) -> RenderableType:
    """One row per run, the newest first; with the owners if another user's run is among them."""
    others = not all(record.ours for record in records)
    owner = ["owner"] if others else []
    names = ("run", *owner, "status", "step", "ranks", "attempts", "started", "took")
    table = columns(*names, breaks="run")
    for record in records:
        ended = record.ended_at or (now_s if record.status == "running" else None)
        took = ended - record.started_at if ended and record.started_at else None
        table.add_row(
            Text(record.run_id, style="bold"),
            *([record.owner] if others else []),
            _status(record),
            words.steps(record.step, record.total_steps),
            str(record.workers),
            str(len(record.attempts)),
            words.ago(record.started_at, now_s),
            words.duration(took),
        )
    stopped = [(one.run_id, describe_stopped(one.supervisor_stopped)) for one in records]
    notes = [Text(f"{run_id}: {why}", style="yellow") for run_id, why in stopped if why]
    return Group(table, *notes)


def describe(record: RunRecord) -> str:
    """What was launched, and on how many workers."""
    return f"{record.target}, {many(record.workers, 'worker')}, profile {record.profile}"


def _status(record: RunRecord) -> Text:
    host = record.attempts[-1].elsewhere if record.status == "elsewhere" else None
    return Text(f"on {host}" if host else record.status, style=COLOURS[record.status])


def run(
    record: RunRecord,
    events: Sequence[Mapping[str, Any]],
    checkpoints: Sequence[tuple[str, str]],
    last: Mapping[str, float],
) -> RenderableType:
    """One run and its events."""
    about = facts()
    about.add_row("what", describe(record))
    if not record.ours:
        about.add_row("owner", record.owner)
    about.add_row("status", _status(record))
    if why := describe_stopped(record.supervisor_stopped):
        about.add_row("supervisor", Text(why, style="yellow"))
    about.add_row("step", words.steps(record.step, record.total_steps))
    about.add_row("folder", record.path)
    if last:
        about.add_row("figures", "  ".join(figures(last)))
    happened = columns("when", "event", "")
    shown = [one for one in events if one.get("event") != "observed"]  # that is for programs
    for event in shown[-MOST_EVENTS:]:
        what = one_line(str(event.get("event")))
        happened.add_row(words.moment(event.get("time")), what, _details(event))
    if (left := len(shown) - MOST_EVENTS) > 0:
        happened.caption = f"{many(left, 'earlier event')}: `--json` shows them"
    kept = columns("checkpoint", "")
    for checkpoint in checkpoints:
        kept.add_row(*checkpoint)
    head = Text(record.run_id, style="bold")
    return Group(head, about, *([kept] if checkpoints else []), happened)


def _details(event: Mapping[str, Any]) -> str:
    """``attempt 1  rank 3``; of an action, what the supervisor does."""
    shown = [
        ACTIONS.get(str(value), str(value)) if key == "action" else one_line(f"{key} {value}")
        for key, value in event.items()
        if key not in NOT_SHOWN and value is not None
    ]
    return "  ".join(shown)
