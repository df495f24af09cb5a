"""A frame of the monitor for Prometheus, as a file of the node exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gpuops.core.monitor.frame import Frame, Health
from gpuops.core.monitor.rows import GpuRow, GpuState, JobHealth, JobRow, RankRow
from gpuops.errors import GpuopsError

GPU = ("gpu", "uuid", "model")
RUN = ("run", "folder", "attempt")
RANK = (*RUN, "rank")
Labels = tuple[str, ...]


def write(path: Path, frame: Frame) -> None:
    """Write all figures of a frame atomically.

    Raises:
        GpuopsError: the file cannot be written.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(frame))
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise GpuopsError(
            f"{path} cannot be written: {error.strerror}.",
            "Name a file in the textfile collector's folder that this user can write.",
        ) from error


class _Figures(Collector):
    """The figures of a frame; what could not be read is left out: absent is not zero."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def collect(self) -> Iterable[GaugeMetricFamily]:
        frame = self._frame
        yield _gauge("look_timestamp_seconds", "Time of this sample.", (), [((), frame.at_s)])
        yield _states("health", "Health of the host.", (), [((), frame.health)], Health)
        gpus = [(_gpu(gpu), gpu) for gpu in frame.gpus]
        states = [(labels, gpu.state) for labels, gpu in gpus]
        yield _states("gpu_state", "What a GPU is.", GPU, states, GpuState)
        for name, words, of in GPU_FIGURES:
            yield _gauge(name, words, GPU, [(labels, of(gpu)) for labels, gpu in gpus])
        jobs = frame.jobs
        healths = [(_run(job), job.health) for job in jobs]
        yield _states("run_state", "Health of a job.", RUN, healths, JobHealth)
        ranks = [
            ((*_run(job), "" if rank.rank is None else str(rank.rank)), rank)
            for job in jobs
            for rank in job.ranks
        ]
        for name, words, of_rank in RANK_FIGURES:
            yield _gauge(name, words, RANK, [(labels, of_rank(rank)) for labels, rank in ranks])


GPU_FIGURES: tuple[tuple[str, str, Callable[[GpuRow], float | None]], ...] = (
    ("gpu_utilization_ratio", "Share of the time at work.", lambda c: _share(c.utilization_pct)),
    ("gpu_memory_used_bytes", "Memory in use.", lambda c: c.memory_used_bytes),
    ("gpu_memory_total_bytes", "Memory of the GPU.", lambda c: c.memory_total_bytes),
    ("gpu_temperature_celsius", "Temperature of the GPU.", lambda c: c.temperature_c),
    ("gpu_power_watts", "Power it takes.", lambda c: c.power_w),
    ("gpu_power_limit_watts", "Power it may take.", lambda c: c.power_limit_w),
    ("gpu_clock_hertz", "Clock of its processors.", lambda c: c.clock_mhz and c.clock_mhz * 1e6),
)
RANK_FIGURES: tuple[tuple[str, str, Callable[[RankRow], float | None]], ...] = (
    ("rank_step", "Newest step.", lambda r: r.step),
    ("rank_total_steps", "Steps to be made.", lambda r: r.total_steps),
    ("rank_steps_per_second", "Speed of late.", lambda r: r.steps_per_s),
    ("rank_loss", "Newest loss.", lambda r: r.loss),
    ("rank_data_wait_ratio", "Share of a step spent waiting for data.", lambda r: r.data_wait),
    ("rank_progress_age_seconds", "Since the last new step.", lambda r: r.progress_age_s),
    ("rank_beat_age_seconds", "Since the last heartbeat.", lambda r: r.beat_age_s),
)


def _gpu(gpu: GpuRow) -> Labels:
    return str(gpu.index), gpu.uuid or "", gpu.name or ""


def _run(job: JobRow) -> Labels:
    return job.name, job.run_dir or "", str(job.attempt or "")


def _gauge(
    name: str, words: str, labels: Labels, values: Iterable[tuple[Labels, float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"gpuops_{name}", words, labels=labels)
    for names, value in values:
        if value is not None:
            family.add_metric(names, value)
    return family


def _states(
    name: str, words: str, labels: Labels, values: Iterable[tuple[Labels, str]], kinds: object
) -> GaugeMetricFamily:
    """One series per state, 1 for the current one, so that alerts are simple queries."""
    family = GaugeMetricFamily(f"gpuops_{name}", words, labels=(*labels, "state"))
    for names, value in values:
        for kind in get_args(kinds):
            family.add_metric((*names, kind), float(kind == value))
    return family


def _share(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
