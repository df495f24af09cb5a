"""One frame of the monitor: everything that it shows at one moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gpuops.core.machine.device import NO_SLICES, is_slice
from gpuops.core.monitor import changes
from gpuops.core.monitor.advice import advice
from gpuops.core.monitor.monitor import Monitor
from gpuops.core.monitor.rows import Advice, Change, GpuRow, JobRow, StrangerRow
from gpuops.core.monitor.sample import Sample
from gpuops.errors import UsageError

Health = Literal["fine", "degraded", "hung", "no driver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Everything the monitor shows at one moment. ``gaps``: what could not be read, and why.

    ``absent``: the host has no GPUs, so no driver is expected.
    """

    at_s: float
    health: Health = "fine"
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    gpus: tuple[GpuRow, ...] = ()
    jobs: tuple[JobRow, ...] = ()
    strangers: tuple[StrangerRow, ...] = ()
    changes: tuple[Change, ...] = ()
    advice: tuple[Advice, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)
    absent: bool = False


def current_frame(monitor: Monitor) -> Frame:
    """The frame of the last sample.

    Raises:
        ValueError: there is no sample yet.
    """
    sample = monitor.sample
    if sample is None:
        raise ValueError("the monitor has no sample yet")
    jobs = tuple(one.row for one in monitor.jobs.values())
    inventory = sample.inventory
    return _assessed(
        Frame(
            at_s=sample.at_s,
            driver=inventory.driver,
            cuda=inventory.cuda,
            gpus=monitor.gpus,
            jobs=jobs,
            strangers=_strangers(sample),
            changes=monitor.changes,
            advice=advice(jobs, monitor.gpus),
            gaps=inventory.gaps,
            absent=inventory.absent,
        )
    )


def filter_frame(
    whole: Frame, *, gpus: Sequence[str] = (), run: Collection[str] | None = None
) -> Frame:
    """The part of a frame about some GPUs or a run.

    ``run``: the paths of the run's folder (a folder may have several).

    Raises:
        UsageError: a GPU does not exist.
    """
    rows, jobs = whole.gpus, whole.jobs
    if run is not None:
        jobs = tuple(job for job in jobs if job.run_dir in run)
        held = {index for job in jobs for index in _on(job)}
        rows = tuple(gpu for gpu in rows if gpu.index in held)
    if gpus:
        known = "gpus" not in whole.gaps or whole.absent  # else the GPUs are not known
        chosen = {index for one in gpus for index in _selected(whole.gpus, one, known=known)}
        rows = tuple(gpu for gpu in rows if gpu.index in chosen)
        jobs = tuple(job for job in jobs if _on(job) & chosen)
    shown, names = {gpu.index for gpu in rows}, {job.name for job in jobs}
    part = replace(
        whole,
        gpus=rows,
        jobs=jobs,
        strangers=tuple(one for one in whole.strangers if one.gpu in shown),
        changes=tuple(
            one
            for one in whole.changes
            if one.gpu in shown or (one.job is not None and (run is None or one.job in run))
        ),
        advice=tuple(one for one in whole.advice if run is None or one.about in names),
    )
    return _assessed(part)


def _on(job: JobRow) -> set[int]:
    return {index for rank in job.ranks for index in rank.gpus}


def _selected(gpus: Sequence[GpuRow], selector: str, *, known: bool) -> list[int]:
    found = [
        gpu.index
        for gpu in gpus
        if selector in {str(gpu.index), gpu.uuid}
        or (len(selector) > 3 and (gpu.uuid or "").lower().startswith(selector.lower()))
    ]
    if is_slice(selector):
        raise UsageError(
            f"{selector} names a slice of a GPU: {NO_SLICES}.", "`gpuops gpus` lists the GPUs."
        )
    if not found and known:
        there = ", ".join(str(gpu.index) for gpu in gpus) or "none"
        raise UsageError(
            f"there is no GPU {selector} here; the GPUs are: {there}.", "`gpuops gpus` lists them."
        )
    return found


def _strangers(sample: Sample) -> tuple[StrangerRow, ...]:
    known = {process.pid for job in sample.jobs for process in job.job.processes if job.job.ours}
    return tuple(
        StrangerRow(
            gpu=device.index,
            pid=process.pid,
            user=process.user,
            command=process.command,
            memory_bytes=process.memory_bytes,
            started_at_s=process.started_at_s,
            whose=process.whose,
        )
        for device in sample.inventory.devices
        for process in device.processes or ()
        if process.whose == "elsewhere" or process.pid not in known
    )


def _assessed(one: Frame) -> Frame:
    faults = ("remap", "heat", "NVLink")  # a GPU at its power limit is fine
    slow = any(reason.startswith(faults) for gpu in one.gpus for reason in gpu.slow)
    ill = slow or any(gpu.state in changes.BAD for gpu in one.gpus)
    odd = any(job.health == "suspect" or (job.ours and job.supervised is False) for job in one.jobs)
    health: Health = "degraded" if ill or odd else "fine"
    if any(job.health == "hung" for job in one.jobs):
        health = "hung"
    elif "gpus" in one.gaps and not one.absent:
        health = "no driver"
    return replace(one, health=health)
