"""What has changed from one board to the next, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpuops.core.board import CardRow, Happening, JobRow, Level
from gpuops.core.checks.xids import MEANINGS, UNKNOWN
from gpuops.core.device import Box
from gpuops.core.run import Status

BAD = {"lost", "stuck", "unreadable", "no permission"}
ENDS: Mapping[Status, Level] = {"finished": "good", "failed": "bad", "stopped": "info"}


def of_cards(before: Sequence[CardRow], now: Sequence[CardRow], at_s: float) -> Iterator[Happening]:
    """Cards that were lost or came back, were taken or given free."""
    known = {row.index: row for row in before}
    for row in now:
        was = known.get(row.index)
        if was is None or (was.state == row.state and was.holder == row.holder):
            continue
        if row.state in BAD and was.state != row.state:
            words = f"GPU {row.index} {row.state}: {row.fault or 'no reason was given'}"
            yield Happening(at_s=at_s, words=words, level="bad")
        elif was.state in BAD and row.state not in BAD:
            yield Happening(at_s=at_s, words=f"GPU {row.index} answers again", level="good")
        elif "busy-other" in {was.state, row.state} and was.holder != row.holder:
            words = f"taken by {row.holder}" if row.state == "busy-other" else "is free of others"
            yield Happening(at_s=at_s, words=f"GPU {row.index} {words}")


def of_xids(before: Box | None, now: Box) -> Iterator[Happening]:
    """Errors that the driver has logged since the last look."""
    known = {device.index: device.xids or () for device in before.devices} if before else {}
    for device in now.devices:
        for xid in (device.xids or ())[len(known.get(device.index, ())) :]:
            if before is not None:
                what, _ = MEANINGS.get(xid.code, UNKNOWN)
                words = f"{device.label}: Xid {xid.code}, {what}"
                yield Happening(at_s=xid.at_s, words=words, level="bad")


def of_jobs(
    before: Sequence[JobRow], now: Sequence[JobRow], ended: Mapping[str, Status], at_s: float
) -> Iterator[Happening]:
    """Jobs that came and went, began to hang, and moved again."""
    known = {_name(row): row for row in before}
    for row in now:
        was = known.pop(_name(row), None)
        if was is None:
            yield Happening(at_s=at_s, words=f"{row.name} started{_whose(row)}")
        elif was.attempt != row.attempt:
            words = f"{row.name} was started again, attempt {row.attempt}"
            yield Happening(at_s=at_s, words=words, level="warning")
        elif row.standing != was.standing and row.standing in {"suspect", "hung"}:
            level: Level = "bad" if row.standing == "hung" else "warning"
            head = "hangs" if row.standing == "hung" else "may hang"
            words = f"{row.name} {head}: {row.diagnosis or row.why}"
            yield Happening(at_s=at_s, words=words, level=level)
        elif was.standing in {"suspect", "hung"} and row.standing == "healthy":
            yield Happening(at_s=at_s, words=f"{row.name} moves again", level="good")
        elif row.diagnosis is not None and was.diagnosis != row.diagnosis:
            yield Happening(at_s=at_s, words=f"{row.name}: {row.diagnosis}", level="warning")
    for row in known.values():
        status = ended.get(row.run_dir or "")
        if status != "running":  # else it is between two attempts
            words, level = f"{row.name} {status or 'has gone'}", ENDS.get(status or "lost", "info")
            yield Happening(at_s=at_s, words=words, level=level)


def of_events(name: str, noted: Iterable[Mapping[str, Any]], since_s: float) -> Iterator[Happening]:
    """What only a run's supervisor knows: why it was started again, or was not."""
    for event in noted:
        at_s, why = event.get("time"), event.get("why")
        if not isinstance(at_s, (int, float)) or at_s < since_s or not isinstance(why, str):
            continue
        match event.get("event"):
            case "restart" | "replan":
                yield Happening(at_s=at_s, words=f"{name} restarts: {why}", level="warning")
            case "giveup":
                yield Happening(at_s=at_s, words=f"{name} is given up: {why}", level="bad")


def _name(row: JobRow) -> str:
    return row.run_dir or row.name


def _whose(row: JobRow) -> str:
    return "" if row.ours else f" by {row.user or 'somebody else'}"
