"""Advice on jobs that run well but could run better, with the figure behind each piece."""

from __future__ import annotations

from collections.abc import Sequence

from gpuops.core.machine.targets import Targets
from gpuops.core.monitor.rows import Advice, GpuRow, JobRow

ENOUGH_LOOKS = 15
USUAL = Targets()
WAITS = 0.2


def advice(jobs: Sequence[JobRow], gpus: Sequence[GpuRow]) -> tuple[Advice, ...]:
    """Advice on our training jobs, and on hot GPUs whatever their jobs."""
    found: list[Advice] = []
    hot_c = {gpu.index: USUAL.temperature_c for gpu in gpus}
    for job in jobs:
        trains = any(rank.phase == "train" for rank in job.ranks)
        if job.ours and job.health == "healthy" and trains:
            held = {index for rank in job.ranks for index in rank.gpus}
            mine = [gpu for gpu in gpus if gpu.index in held]
            words = (_loading(job, mine), _memory(mine, job.targets))
            found += [Advice(about=job.name, words=one) for one in words if one]
            hot_c |= dict.fromkeys(held & hot_c.keys(), job.targets.temperature_c)
    hot = [gpu for gpu in gpus if (gpu.temperature_c or 0) > hot_c[gpu.index]]
    if hot:
        top = max(gpu.temperature_c or 0 for gpu in hot)
        about = f"GPU {', '.join(str(gpu.index) for gpu in hot)}"
        limit = min(hot_c[gpu.index] for gpu in hot)
        hint = f"{top} °C, over {limit}: look at fans, filters and the room's air"
        found.append(Advice(about=about, words=hint))
    return tuple(found)


def _loading(job: JobRow, gpus: Sequence[GpuRow]) -> str:
    """GPUs that idle while their ranks train mostly wait for data."""
    waits = [rank.data_wait for rank in job.ranks if rank.data_wait is not None]
    share = max(waits, default=None)
    waiting = "" if share is None else f"its ranks wait up to {share:.0%} of a step for data"
    means = [mean for gpu in gpus if (mean := _mean(gpu.history[-ENOUGH_LOOKS:])) is not None]
    if means and (usual := sum(means) / len(means)) < job.targets.utilization_pct:
        remedy = "look at data loading" if share is None or share >= WAITS else "try a larger batch"
        low = f"{usual:.0f} % utilisation, under {job.targets.utilization_pct}"
        return f"{low}{f', {waiting}' if waiting else ''}: {remedy}"
    if not gpus and share is not None and share >= WAITS:
        return f"{waiting}: look at data loading"
    return ""


def _memory(gpus: Sequence[GpuRow], targets: Targets) -> str:
    shares = [
        gpu.memory_used_bytes / gpu.memory_total_bytes
        for gpu in gpus
        if gpu.memory_used_bytes is not None and gpu.memory_total_bytes
    ]
    most = max(shares, default=targets.memory_least)
    if most < targets.memory_least:
        return (
            f"{most:.0%} of its memory used, under {targets.memory_least:.0%}: try a larger batch"
        )
    if most > targets.memory_most:
        return f"{most:.0%} of a GPU's memory used, over {targets.memory_most:.0%}: it may run out"
    return ""


def _mean(readings: Sequence[int | None]) -> float | None:
    """The mean of enough readings; ``None`` if there are too few."""
    known = [reading for reading in readings if reading is not None]
    return sum(known) / len(known) if len(known) >= ENOUGH_LOOKS else None
