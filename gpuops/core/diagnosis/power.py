"""What cards draw, against what they drew while their job trained: words for a person to judge by.

Utilization tells nothing of a hang, for a kernel that waits in an NCCL collective keeps a card at
100 %. It draws little, though.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from gpuops.core.machine.device import Device
from gpuops.core.run.telemetry import CardSample, Sample

ENOUGH = 5
AT_WORK_PCT, BUSY_PCT = 50, 90
LITTLE = 0.5  # of what it drew while it trained


def usual(samples: Iterable[Sample]) -> dict[int, float]:
    """The watts that each card drew while the job trained, in the middle, by its index.

    It trained where a step was taken; where it says no steps, a card at work has to do.
    """
    drawn: dict[int, list[float]] = {}
    for sample in samples:
        for index, card in sample.gpus.items():
            if card.power_w is not None and _trained(sample, card):
                drawn.setdefault(index, []).append(card.power_w)
    return {index: median(watts) for index, watts in drawn.items() if len(watts) >= ENOUGH}


def told(cards: Mapping[int, Device], usual_w: Mapping[int, float]) -> tuple[str, ...]:
    """``GPU 3: 100 % at 70 W, 290 W while it trained``, of each rank's card."""
    return tuple(
        f"GPU {card.index}: {_busy(card)}{card.power_w:.0f} W, "
        f"{usual_w[card.index]:.0f} W while it trained{_meaning(card, usual_w[card.index])}"
        for _, card in sorted(cards.items())
        if card.power_w is not None and card.index in usual_w
    )


def _trained(sample: Sample, card: CardSample) -> bool:
    if sample.step is not None:
        return sample.step_s is not None
    return (card.utilization_pct or 0) >= AT_WORK_PCT


def _busy(card: Device) -> str:
    return "" if card.utilization_pct is None else f"{card.utilization_pct} % at "


def _meaning(card: Device, usual_w: float) -> str:
    spins = (card.utilization_pct or 0) >= BUSY_PCT and (card.power_w or 0) <= LITTLE * usual_w
    return ": as in a wait for other ranks" if spins else ""
