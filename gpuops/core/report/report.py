"""How a run went, as one value: shown on a page, and printed as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeGuard

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.report import charts
from gpuops.core.report.curves import Chart, Spread, fits, spread
from gpuops.core.report.history import (
    AttemptSpan,
    Event,
    Mark,
    Trouble,
    by_attempt,
    marks,
    spans,
    troubles,
)
from gpuops.core.run.record import RunRecord
from gpuops.core.run.telemetry import READINGS, GpuSample, Recording, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """How a GPU was used."""

    index: int
    utilization_pct: Spread | None
    memory_used_bytes: Spread | None
    temperature_c: Spread | None
    power_w: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the running time spent in one phase; ``None`` if no phase was reported.

    ``hang`` is the rest of a hung attempt after its last step.
    """

    phase: str | None
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run from its beginning to now. Times are seconds since the epoch.

    ``running_s``: the seconds that it ran. ``loss``: the first, the lowest and the last value;
    ``validation``: its last figures; ``not_finite``: how many logged losses are not finite.
    """

    run: RunRecord
    made_at: float
    command: str
    running_s: float
    loss: tuple[float, float, float] | None
    validation: Mapping[str, float]
    not_finite: int
    steps_per_s: float | None
    data_wait: Spread | None
    cpu_cores: Spread | None
    memory_bytes: Spread | None
    gpus: tuple[GpuUse, ...]
    attempts: tuple[AttemptSpan, ...]
    troubles: tuple[Trouble, ...]
    phases: tuple[Stretch, ...]
    marks: tuple[Mark, ...]
    charts: tuple[Chart, ...]
    configuration: Mapping[str, str]
    environment: Mapping[str, Any]

    @property
    def step(self) -> int | None:
        """Its last step, from the heartbeats or from the events."""
        steps = [span.last_step for span in self.attempts if span.last_step is not None]
        return self.run.step if self.run.step is not None else max(steps, default=None)

    @property
    def shares(self) -> dict[str, float]:
        """The share of the running time of each phase; empty if no phase was reported."""
        lasted_s: dict[str, float] = {}
        for one in self.phases:
            if one.phase is not None:
                lasted_s[one.phase] = lasted_s.get(one.phase, 0.0) + one.end_s - one.begin_s
        whole_s = sum(lasted_s.values())
        return {phase: length_s / whole_s for phase, length_s in lasted_s.items() if whole_s}


def report(
    *,
    run: RunRecord,
    command: str,
    events: Sequence[Event],
    recording: Recording,
    figures: Sequence[charts.Row],
    diagnoses: Mapping[tuple[int, str], Diagnosis],
    configuration: Mapping[str, str],
    environment: Mapping[str, Any],
    now_s: float,
) -> Report:
    """Build the report from the files of a run. ``diagnoses`` are by attempt and ``what``."""
    samples = recording.samples
    training = [sample for sample in samples if sample.phase == "train"] or samples
    found = spans(run.attempts, events, samples, now_s)
    wrong = troubles(events, diagnoses)
    logged = charts.figure_charts(figures)
    losses = [chart for chart in logged if chart.title == "Loss"] or charts.loss_charts(samples)
    others = [chart for chart in logged if chart.title != "Loss"]
    return Report(
        run=run,
        made_at=now_s,
        command=command,
        running_s=sum(span.duration_s for span in found),
        loss=_loss(losses),
        validation=_validation(figures),
        not_finite=sum("loss" in row and not _is_finite(row["loss"]) for row in figures),
        steps_per_s=_steps_per_s(figures, samples),
        data_wait=spread(s.data_wait for s in samples if s.data_wait is not None),
        cpu_cores=spread(s.cpu_cores for s in training if s.cpu_cores is not None),
        memory_bytes=spread(s.memory_bytes for s in training if s.memory_bytes is not None),
        gpus=_gpus(training),
        attempts=found,
        troubles=wrong,
        phases=_phases(found, samples, {one.attempt for one in wrong if one.what == "hung"}),
        marks=marks(found, wrong),
        charts=(*losses, *charts.telemetry_charts(found, recording), *others),
        configuration=configuration,
        environment=environment,
    )


def _loss(drawn: Sequence[Chart]) -> tuple[float, float, float] | None:
    """The first, the lowest and the last value of the training curve, or of the only one."""
    curves = [line for chart in drawn for line in chart.curves]
    line = next((line for line in curves if line.name == "train"), curves[0] if curves else None)
    values = line.values if line else []
    return (values[0], min(values), values[-1]) if values else None


def _validation(figures: Sequence[charts.Row]) -> dict[str, float]:
    last = next((row for row in reversed(figures) if row.get("split") == "val"), {})
    return {
        name: value
        for name, value in last.items()
        if name not in charts.NOT_FIGURES and _is_finite(value)
    }


def _steps_per_s(figures: Sequence[charts.Row], samples: Sequence[Sample]) -> float | None:
    """The median speed that the trainer logged, or else that of the telemetry."""
    logged = spread(row["steps_per_s"] for row in figures if _is_finite(row.get("steps_per_s")))
    sampled = spread(sample.step_s for sample in samples if sample.step_s)
    if logged is not None:
        return logged.median
    return 1 / sampled.median if sampled is not None else None


def _gpus(samples: Sequence[Sample]) -> tuple[GpuUse, ...]:
    uses: dict[int, list[GpuSample]] = {}
    for sample in samples:
        for index, gpu in sample.gpus.items():
            uses.setdefault(index, []).append(gpu)
    return tuple(
        GpuUse(
            index=index,
            **{
                name: spread(v for gpu in seen if (v := getattr(gpu, name)) is not None and fits(v))
                for name in READINGS
            },
        )
        for index, seen in sorted(uses.items())
    )


def _phases(
    found: Sequence[AttemptSpan], samples: Sequence[Sample], hung: Collection[int]
) -> tuple[Stretch, ...]:
    """The phases in order; before its first beat a job is in ``start``."""
    stretches: list[Stretch] = []
    sampled = by_attempt(samples, lambda sample: sample.attempt)
    for span in found:
        begin_s, seen = span.begun_s, sampled.get(span.number, [])
        speaks = any(sample.phase is not None for sample in seen)
        moves = [now.at_s for before, now in pairwise(seen) if now.step != before.step]
        still_s = moves[-1] if span.number in hung and moves else math.inf
        for sample in seen:
            end_s = span.running_s(sample.at_s)
            phase = (sample.phase or "start") if speaks else None
            phase = "hang" if sample.at_s > still_s else phase
            last = stretches[-1] if stretches and stretches[-1].end_s == begin_s else None
            if last is not None and last.phase == phase and last.begin_s >= span.begun_s:
                stretches[-1] = replace(last, end_s=end_s)
            elif end_s > begin_s:
                stretches.append(Stretch(phase=phase, begin_s=begin_s, end_s=end_s))
            begin_s = end_s
    return tuple(stretches)


def _is_finite(value: object) -> TypeGuard[float]:
    return charts.is_number(value) and fits(value)
