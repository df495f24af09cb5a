"""The charts of a run: from the trainer's own figures, and from the telemetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from gpuops.core.report.curves import Chart, Curve, curve
from gpuops.core.report.history import AttemptSpan
from gpuops.core.run.telemetry import GpuSample, Recording, Sample
from gpuops.text import GIB

Row = Mapping[str, Any]
NOT_FIGURES = {
    "step", "total_steps", "time", "split", "seconds", "epoch", "steps_per_s", "data_wait",
}  # fmt: skip
TITLES = {"loss": "Loss", "lr": "Learning rate"}
MOST_FIGURES = 24


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a JSON file is a number; true and false are not."""
    return type(value) is float or type(value) is int


def figure_charts(rows: Sequence[Row]) -> tuple[Chart, ...]:
    """A chart of each figure that a trainer logged, with a curve per split; the loss first."""
    points: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    for row in rows:
        step = row.get("step")
        if not is_number(step):
            continue
        own = points.setdefault(str(row.get("split", "train")), {})
        for name, value in row.items():
            if value is None or is_number(value):
                own.setdefault(name, []).append((step, value))
    names = dict.fromkeys(
        name for own in points.values() for name in own if name not in NOT_FIGURES
    )
    shown = sorted(names, key=lambda name: (name != "loss", name != "lr"))[:MOST_FIGURES]
    return _shown(
        Chart(
            title=TITLES.get(name, name),
            unit="",
            over="steps",
            curves=tuple(curve(split, own[name]) for split, own in points.items() if name in own),
            floor=0.0 if name == "lr" else None,
        )
        for name in shown
    )


def loss_charts(samples: Sequence[Sample]) -> tuple[Chart, ...]:
    """The loss from the heartbeats, for programs that log no figures."""
    points = [(s.step, s.loss) for s in samples if s.step is not None and s.loss is not None]
    loss = Chart(title="Loss", unit="", over="steps", curves=(curve("train", points),))
    return _shown((loss,))


def telemetry_charts(found: Sequence[AttemptSpan], recording: Recording) -> tuple[Chart, ...]:
    """What the supervisor recorded, over the running time of the run."""
    samples, every_s = recording.samples, recording.every_s
    indices = sorted({index for sample in samples for index in sample.gpus})

    def job(title: str, unit: str, value: Callable[[Sample], float | None]) -> Chart:
        line = curve("all ranks", _over_time(found, samples, value))
        return _time_chart(title, unit, line, floor=0.0)

    def steps(title: str, unit: str, value: Callable[[Sample], float | None]) -> Chart:
        stepping = [sample for sample in samples if sample.step_s is not None]
        line = curve("all ranks", _over_time(found, stepping, value, 5 * every_s))
        return _time_chart(title, unit, line, floor=0.0)

    def gpus(
        title: str,
        unit: str,
        value: Callable[[GpuSample], float | None],
        floor: float | None = 0.0,
        ceiling: float | None = None,
    ) -> Chart:
        def value_of(index: int) -> Callable[[Sample], float | None]:
            return lambda sample: value(sample.gpus[index]) if index in sample.gpus else None

        lines = [curve(f"GPU {i}", _over_time(found, samples, value_of(i))) for i in indices]
        return _time_chart(title, unit, *lines, floor=floor, ceiling=ceiling)

    return _shown(
        (
            replace(job("Progress", "steps", lambda one: one.step), varies=False),
            steps("Step time", "ms", lambda one: _times(one.step_s, 1000)),
            steps("Waiting for data", "% of a step", lambda one: _times(one.data_wait, 100)),
            gpus("GPU utilisation", "%", lambda gpu: gpu.utilization_pct, ceiling=100.0),
            gpus("GPU memory", "GiB", lambda gpu: _times(gpu.memory_used_bytes, 1 / GIB)),
            gpus("GPU temperature", "°C", lambda gpu: gpu.temperature_c, floor=None),
            gpus("GPU power", "W", lambda gpu: gpu.power_w),
            job("CPU", "cores", lambda one: one.cpu_cores),
            job("Host memory", "GiB", lambda one: _times(one.memory_bytes, 1 / GIB)),
        )
    )


def _time_chart(
    title: str,
    unit: str,
    *curves: Curve,
    floor: float | None = None,
    ceiling: float | None = None,
) -> Chart:
    return Chart(
        title=title,
        unit=unit,
        over="time",
        curves=curves,
        floor=floor,
        ceiling=ceiling,
        varies=True,
    )


def _over_time(
    found: Sequence[AttemptSpan],
    samples: Iterable[Sample],
    value: Callable[[Sample], float | None],
    pause_s: float = math.inf,
) -> Iterator[tuple[float, float | None]]:
    """A value over the running time, with a gap (``None``) between attempts and at pauses.

    Ten steps without a sample are a pause if they last longer than ``pause_s``.
    """
    by_number = {span.number: span for span in found}
    before: Sample | None = None
    for sample in samples:
        span = by_number.get(sample.attempt)
        if span is None:
            continue
        running_s = span.running_s(sample.at_s)
        if before is not None:
            paused = sample.at_s - before.at_s > max(pause_s, 10 * (sample.step_s or 0))
            if paused or sample.attempt != before.attempt:
                yield running_s, None
        before = sample
        yield running_s, value(sample)


def _shown(charts: Iterable[Chart]) -> tuple[Chart, ...]:
    """The charts that have points, without their empty curves."""
    filled = (
        replace(chart, curves=tuple(line for line in chart.curves if line.pieces))
        for chart in charts
    )
    return tuple(chart for chart in filled if chart.curves)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
