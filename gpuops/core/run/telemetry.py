"""What is recorded of a run while it lasts: samples, and never too many of them.

They come a second apart at first; when there are too many, two become one, and the next come half
as often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gpuops.core.hang.observation import Observation, slowest_beat
from gpuops.core.machine.device import Device
from gpuops.heartbeat import PHASES

FIRST_S = 1.0
MOST_SAMPLES = 3000
VARYING = ("loss", "step_s", "data_wait", "cpu_cores")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """What a GPU was doing."""

    utilization_pct: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    memory_used_bytes: float | None = None


READINGS = [one.name for one in fields(GpuSample)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A run at one moment, in seconds since the epoch.

    What belongs to a step (``loss``, ``step_s``, ``data_wait``) is ``None`` if there was none
    since the sample before. ``step_s`` is the usual time of a step; ``cpu_cores`` and
    ``memory_bytes`` are what all ranks use together; ``gpus`` are by index.
    """

    at_s: float
    attempt: int
    step: int | None = None
    phase: str | None = None
    loss: float | None = None
    step_s: float | None = None
    data_wait: float | None = None
    cpu_cores: float | None = None
    memory_bytes: float | None = None
    gpus: Mapping[int, GpuSample] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The samples of a run, oldest first, and how often they come now."""

    every_s: float = FIRST_S
    samples: tuple[Sample, ...] = ()


def sample(
    *,
    at_s: float,
    attempt: int,
    step_s: float | None,
    seen: Observation,
    before: Observation | None,
    gpus: Iterable[Device],
) -> Sample:
    """A sample of what is ``seen``; ``before`` is what was seen at the sample before this one."""
    slowest = slowest_beat(seen.beats)
    earlier = slowest_beat(before.beats) if before else None
    memory = _known(vitals.memory_bytes for vitals in seen.vitals)
    moved = slowest is not None and (earlier is None or slowest.step != earlier.step)
    return Sample(
        at_s=round(at_s, 3),
        attempt=attempt,
        step=slowest.step if slowest else None,
        phase=slowest.phase if slowest and slowest.phase in PHASES else None,
        loss=slowest.loss if slowest and moved else None,
        step_s=step_s if moved else None,
        data_wait=_mean([beat.data_wait for beat in seen.beats]) if moved else None,
        cpu_cores=_cpu_cores(before, seen),
        memory_bytes=sum(memory) if memory else None,
        gpus={gpu.index: GpuSample(**{n: getattr(gpu, n) for n in READINGS}) for gpu in gpus},
    )


def added(recording: Recording, sample: Sample) -> Recording:
    """A recording with one more sample, thinned if there are too many."""
    longer = replace(recording, samples=(*recording.samples, sample))
    return longer if len(longer.samples) <= MOST_SAMPLES else thinned(longer)


def thinned(recording: Recording) -> Recording:
    """One sample of each two, half as often: means of what varies, the most of what is in use."""
    samples = recording.samples
    pairs = zip(samples[::2], samples[1::2], strict=False)
    merged = tuple(_merged(earlier, later) for earlier, later in pairs)
    return Recording(every_s=2 * recording.every_s, samples=merged + samples[2 * len(merged) :])


def _merged(earlier: Sample, later: Sample) -> Sample:
    if earlier.attempt != later.attempt:
        return later
    both = set(earlier.gpus) | set(later.gpus)
    means: dict[str, Any] = {
        name: _mean([getattr(earlier, name), getattr(later, name)]) for name in VARYING
    }
    return replace(
        later,
        **means,
        memory_bytes=_most([earlier.memory_bytes, later.memory_bytes]),
        gpus={
            index: _gpu(earlier.gpus.get(index), later.gpus.get(index)) for index in sorted(both)
        },
    )


def _gpu(earlier: GpuSample | None, later: GpuSample | None) -> GpuSample:
    both = [one for one in (earlier, later) if one is not None]
    return GpuSample(
        utilization_pct=_mean([one.utilization_pct for one in both]),
        temperature_c=_most([one.temperature_c for one in both]),
        power_w=_mean([one.power_w for one in both]),
        memory_used_bytes=_most([one.memory_used_bytes for one in both]),
    )


def _cpu_cores(before: Observation | None, seen: Observation) -> float | None:
    """How many cores the ranks kept busy between two observations of the same processes."""
    if before is None or seen.now_s <= before.now_s:
        return None
    then = {vitals.pid: vitals.cpu_s for vitals in before.vitals}
    spent = [
        vitals.cpu_s - was
        for vitals in seen.vitals
        if vitals.cpu_s is not None and (was := then.get(vitals.pid)) is not None
    ]
    return max(0.0, sum(spent)) / (seen.now_s - before.now_s) if spent else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _most(values: Iterable[float | None]) -> float | None:
    return max(_known(values), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return sum(known) / len(known) if known else None
