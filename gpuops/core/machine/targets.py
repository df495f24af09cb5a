"""How a job should use its GPUs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The monitor advises if a job misses them; shares of memory are of 0 to 1."""

    utilization_pct: int = 50
    memory_least: float = 0.7
    memory_most: float = 0.9
    temperature_c: int = 80
