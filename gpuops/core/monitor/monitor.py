"""What the monitor remembers: ``update_monitor`` adds a sample; ``frame`` shows the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from gpuops.core.monitor import changes, job_rows
from gpuops.core.monitor.gpu_rows import gpu_rows
from gpuops.core.monitor.job_rows import TrackedJob
from gpuops.core.monitor.rows import Change, GpuRow
from gpuops.core.monitor.sample import Sample

REMEMBERED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What is remembered between two samples. ``interval_s``: the planned time between them."""

    interval_s: float = 2.0
    sample: Sample | None = None
    since_s: float = 0.0
    gpus: tuple[GpuRow, ...] = ()
    jobs: Mapping[tuple[object, ...], TrackedJob] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()


def update_monitor(monitor: Monitor, sample: Sample) -> Monitor:
    """Add a sample."""
    before = monitor.sample
    passed_s = sample.clock_s - before.clock_s if before is not None else 0.0
    gpus = gpu_rows(sample.inventory, sample.jobs, monitor.gpus, passed_s, sample.between)
    jobs: dict[tuple[object, ...], TrackedJob] = {}
    for job in sample.jobs:
        known = monitor.jobs.get(job.key)
        tracked = job_rows.track_job(job, known, gpus, sample.at_s, sample.clock_s)
        # Between two samples at most 1.5 intervals count, and not the time the host was asleep.
        hang = replace(tracked.hang, most_s=max(2.0, 1.5 * monitor.interval_s))
        jobs[job.key] = replace(tracked, hang=hang)
    since_s = monitor.since_s or sample.at_s
    new: Iterable[Change] = changes.event_changes(sample, since_s)
    if before is not None:
        was, now = ([one.row for one in rows.values()] for rows in (monitor.jobs, jobs))
        new = chain(
            changes.gpu_changes(monitor.gpus, gpus, sample.at_s),
            changes.xid_changes(sample.inventory, before.at_s),
            new,
            changes.job_changes(was, now, sample),
        )
    return replace(
        monitor,
        sample=sample,
        since_s=since_s,
        gpus=gpus,
        jobs=jobs,
        changes=(*monitor.changes, *new)[-REMEMBERED:],
    )
