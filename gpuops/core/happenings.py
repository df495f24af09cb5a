"""What has changed from one board to the next, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpuops.core.board import CardRow, Happening, JobRow, Level
from gpuops.core.checks.xids import MEANINGS, UNKNOWN
from gpuops.core.device import Box
from gpuops.core.run import Status
from gpuops.core.sample import JobSample

BAD = {"lost", "stuck", "unreadable", "no permission"}
ENDS: Mapping[Status, Level] = {"finished": "good", "failed": "bad", "stopped": "info"}


def of_cards(before: Sequence[CardRow], now: Sequence[CardRow], at_s: float) -> Iterator[Happening]:
    """Cards that were lost or came back, were taken or given free."""
    known = {row.index: row for row in before}
    for row in now:
        was = known.get(row.index)
        told = _of_card(was, row) if was is not None else None
        if told is not None:
            words = f"GPU {row.index} {told[0]}"
            yield Happening(at_s=at_s, words=words, level=told[1], gpu=row.index)


def _of_card(was: CardRow, row: CardRow) -> tuple[str, Level] | None:
    if row.state in BAD and was.state != row.state:
        return f"{row.state}: {row.fault or 'no reason was given'}", "bad"
    if was.state in BAD and row.state not in BAD:
        return "answers again", "good"
    if "busy-other" in {was.state, row.state} and was.holder != row.holder:
        taken = row.state == "busy-other"
        return (f"taken by {row.holder}" if taken else "is free of others"), "info"
    return None


def of_xids(before: Box | None, now: Box) -> Iterator[Happening]:
    """Errors that the driver has logged since the last look."""
    known = {device.index: device.xids or () for device in before.devices} if before else {}
    for device in now.devices:
        for xid in (device.xids or ())[len(known.get(device.index, ())) :]:
            if before is not None:
                what, _ = MEANINGS.get(xid.code, UNKNOWN)
                words = f"{device.label}: Xid {xid.code}, {what}"
                yield Happening(at_s=xid.at_s, words=words, level="bad", gpu=device.index)


def of_jobs(
    before: Sequence[JobRow], now: Sequence[JobRow], ended: Mapping[str, Status], at_s: float
) -> Iterator[Happening]:
    """Jobs that came and went, began to hang, and moved again."""
    known = {_name(row): row for row in before}
    for row in now:
        told = _of_job(known.pop(_name(row), None), row)
        if told is not None:
            words = f"{row.name}{told[0]}"
            yield Happening(at_s=at_s, words=words, level=told[1], job=_name(row))
    for row in known.values():
        status = ended.get(row.run_dir or "")
        if status != "running":  # else it is between two attempts
            words, level = f"{row.name} {status or 'has gone'}", ENDS.get(status or "lost", "info")
            yield Happening(at_s=at_s, words=words, level=level, job=_name(row))


def _of_job(was: JobRow | None, row: JobRow) -> tuple[str, Level] | None:
    stands = {"suspect", "hung"}
    if was is None:
        whose = "" if row.ours else f" by {row.user or 'somebody else'}"
        return f" started{whose}", "info"
    if was.attempt != row.attempt:
        return f" was started again, attempt {row.attempt}", "warning"
    if row.standing != was.standing and row.standing in stands:
        hung = row.standing == "hung"
        head = "hangs" if hung else "may hang"
        return f" {head}: {row.diagnosis or row.why}", "bad" if hung else "warning"
    if was.standing in stands and row.standing == "healthy":
        return " moves again", "good"
    if row.diagnosis is not None and was.diagnosis != row.diagnosis:
        return f": {row.diagnosis}", "warning"
    return None


def of_events(row: JobSample, since_s: float) -> Iterator[Happening]:
    """What only a run's supervisor knows: why it was started again, or was not."""
    for event in row.noted:
        at_s, why = event.get("time"), event.get("why")
        if not isinstance(at_s, (int, float)) or at_s < since_s or not isinstance(why, str):
            continue
        job = row.job.run_dir
        match event.get("event"):
            case "restart" | "replan":
                words = f"{row.name} restarts: {why}"
                yield Happening(at_s=at_s, words=words, level="warning", job=job)
            case "giveup":
                words = f"{row.name} is given up: {why}"
                yield Happening(at_s=at_s, words=words, level="bad", job=job)


def _name(row: JobRow) -> str:
    return row.run_dir or row.name
