"""Noise on layouts, and what its removal asks of a network.

Shapes: B layouts, N elements, 6 values of an element.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.layout.config import DiffusionConfig


class Noise(ABC):
    """What a network is given, and what it should give."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config

    @abstractmethod
    def kept(self, time_B: Tensor) -> Tensor:
        """Return the share (B,) of the variance that is not noise at a time in 0..1."""

    def add_noise(self, state: Tensor, noise: Tensor, kept_B: Tensor) -> Tensor:
        """Return sqrt(kept) * state + sqrt(1 - kept) * noise (B, N, 6)."""
        kept = kept_B[:, None, None]
        return kept.sqrt() * state + (1 - kept).sqrt() * noise

    def target(self, state: Tensor, noise: Tensor, kept_B: Tensor) -> Tensor:
        """Return what the network should give (B, N, 6).

        v = sqrt(kept) * noise - sqrt(1 - kept) * state (Salimans and Ho 2022).
        """
        if self.config.prediction == "x0":
            return state
        kept = kept_B[:, None, None]
        return kept.sqrt() * noise - (1 - kept).sqrt() * state

    def to_state(self, found: Tensor, noisy: Tensor, kept_B: Tensor) -> Tensor:
        """Return the state (B, N, 6) that the network's answer means."""
        if self.config.prediction == "x0":
            return found
        kept = kept_B[:, None, None]
        return kept.sqrt() * noisy - (1 - kept).sqrt() * found
