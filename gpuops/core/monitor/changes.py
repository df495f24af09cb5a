"""The changes from one frame of the monitor to the next, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.xids import MEANINGS, UNKNOWN
from gpuops.core.monitor.rows import Change, GpuRow, JobRow, Level
from gpuops.core.monitor.sample import Sample
from gpuops.core.run.record import Status

BAD = {"lost", "stuck", "unreadable", "no permission", "users unknown"}
ENDS: Mapping[Status, Level] = {"finished": "good", "failed": "bad", "stopped": "info"}
DECISIONS: Mapping[str, tuple[str, Level]] = {
    "restart": ("restarts", "warning"),
    "replan": ("restarts", "warning"),
    "giveup": ("is given up", "bad"),
}


def gpu_changes(before: Sequence[GpuRow], now: Sequence[GpuRow], at_s: float) -> Iterator[Change]:
    """GPUs that were lost or came back, or that others took or freed."""
    known = {row.index: row for row in before}
    for row in now:
        was = known.get(row.index)
        change = _gpu_change(was, row) if was is not None else None
        if change is not None:
            what, level = change
            yield Change(at_s=at_s, words=f"GPU {row.index} {what}", level=level, gpu=row.index)


def _gpu_change(was: GpuRow, row: GpuRow) -> tuple[str, Level] | None:
    if row.state in BAD and was.state != row.state:
        return f"{row.state}: {row.fault or 'no reason given'}", "bad"
    if was.state in BAD and row.state not in BAD:
        return "answers again", "good"
    if row.state != was.state and "busy-other" in {was.state, row.state}:
        taken = row.state == "busy-other"
        return (f"is taken: {row.holder}" if taken else "was released by another job"), "info"
    return None


def xid_changes(inventory: GpuInventory, since_s: float) -> Iterator[Change]:
    """Errors that the driver has logged since ``since_s``, those of programs included."""
    for device in inventory.devices:
        for xid in device.xids or ():
            if xid.at_s > since_s:
                what, remedy = MEANINGS.get(xid.code, UNKNOWN)
                words = f"{device.label}: Xid {xid.code}, {what}"
                level: Level = "info" if remedy == "none" else "bad"
                yield Change(at_s=xid.at_s, words=words, level=level, gpu=device.index)


def job_changes(
    before: Sequence[JobRow], now: Sequence[JobRow], sample: Sample
) -> Iterator[Change]:
    """Jobs that started or ended, began to hang, or moved again."""
    known, runs = {_key(row): row for row in before}, {row.run_dir for row in now}
    for row in now:
        change = _job_change(known.pop(_key(row), None), row)
        if change is not None:
            what, level = change
            yield Change(at_s=sample.at_s, words=row.name + what, level=level, job=_job(row))
    for row in known.values():
        if row.run_dir is None or row.run_dir not in {*runs, *sample.between}:
            yield from _end(row.name, _job(row), sample, row.run_dir)
    for run_dir in sample.ended.keys() - {row.run_dir for row in known.values()}:
        yield from _end(run_dir.rpartition("/")[2], run_dir, sample, run_dir)


def _end(name: str, job: str, sample: Sample, run_dir: str | None) -> Iterator[Change]:
    status = sample.ended.get(run_dir or "")
    words, level = f"{name} {status or 'has ended'}", ENDS.get(status or "lost", "info")
    yield Change(at_s=sample.at_s, words=words, level=level, job=job)


def _job_change(was: JobRow | None, row: JobRow) -> tuple[str, Level] | None:
    stands = {"suspect", "hung"}
    if was is None:
        if (row.attempt or 1) > 1:
            return f" was started again, attempt {row.attempt}", "warning"
        whose = "" if row.ours else f" by {row.user or 'another user'}"
        return f" started{whose}", "info"
    if row.health != was.health and row.health in stands:
        hung = row.health == "hung"
        head = "hangs" if hung else "may hang"
        return f" {head}: {row.diagnosis or row.why}", "bad" if hung else "warning"
    if was.health in stands and row.health == "healthy":
        return " makes progress again", "good"
    if row.diagnosis is not None and was.diagnosis != row.diagnosis:
        return f": {row.diagnosis}", "warning"
    return None


def event_changes(sample: Sample, since_s: float) -> Iterator[Change]:
    """Restarts and give-ups with their reasons, from the runs' event files."""
    for job, events in sample.events.items():
        name = job.rpartition("/")[2]
        for event in events:
            at_s, why = event.get("time"), event.get("why")
            if not isinstance(at_s, (int, float)) or at_s < since_s or not isinstance(why, str):
                continue
            if decision := DECISIONS.get(str(event.get("event"))):
                what, level = decision
                yield Change(at_s=at_s, words=f"{name} {what}: {why}", level=level, job=job)


def _key(row: JobRow) -> tuple[str, int | None]:
    return _job(row), row.attempt


def _job(row: JobRow) -> str:
    return row.run_dir or row.name
