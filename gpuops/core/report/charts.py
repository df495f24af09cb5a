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

    def chart(title: str, unit: str, *curves: Curve, floor: float | None = 0.0) -> Chart:
        return Chart(title=title, unit=unit, over="time", curves=curves, floor=floor, varies=True)

    def job(value: Callable[[Sample], float | None]) -> Curve:
        return curve("all ranks", _over_time(found, samples, value))

    def steps(value: Callable[[Sample], float | None]) -> Curve:
        stepping = [sample for sample in samples if sample.step_s is not None]
        return curve("all ranks", _over_time(found, stepping, value, 5 * every_s))

    def gpus(value: Callable[[GpuSample], float | None]) -> Iterator[Curve]:
        for index in indices:

            def of_gpu(sample: Sample, index: int = index) -> float | None:
                return value(sample.gpus[index]) if index in sample.gpus else None

            yield curve(f"GPU {index}", _over_time(found, samples, of_gpu))

    used = chart("GPU utilisation", "%", *gpus(lambda gpu: gpu.utilization_pct))
    return _shown(
        (
            replace(chart("Progress", "steps", job(lambda one: one.step)), varies=False),
            chart("Step time", "ms", steps(lambda one: _times(one.step_s, 1000))),
            chart("Waiting for data", "% of a step", steps(lambda one: _times(one.data_wait, 100))),
            replace(used, ceiling=100.0),
            chart("GPU memory", "GiB", *gpus(lambda gpu: _times(gpu.memory_used_bytes, 1 / GIB))),
            chart("GPU temperature", "°C", *gpus(lambda gpu: gpu.temperature_c), floor=None),
            chart("GPU power", "W", *gpus(lambda gpu: gpu.power_w)),
            chart("CPU", "cores", job(lambda one: one.cpu_cores)),
            chart("Host memory", "GiB", job(lambda one: _times(one.memory_bytes, 1 / GIB))),
        )
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
    filled = (
        replace(chart, curves=tuple(line for line in chart.curves if line.pieces))
        for chart in charts
    )
    return tuple(chart for chart in filled if chart.curves)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
