"""Samples of different lengths in one batch: padding, and means that it does not change.

A mean over frames that are there is the same however samples are dealt out to ranks and passes.
Shapes: B samples of a batch, T frames of the longest, M samples of a whole step, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Lengths = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLengths:
    """Lengths of this batch's samples (B,), and of all samples of the step (M,)."""

    mine: Lengths
    together: Lengths

    def share(self, units: Callable[[Lengths], Any] = lambda lengths: lengths) -> float:
        """Return the weight of this batch's mean in the mean over the step's batches.

        ``units`` gives the number of units, such as differences of frames, that are averaged in
        samples of these lengths. So weighted, the mean over the batches is that over all units.
        """
        mine, together = np.asarray(units(self.mine)), np.asarray(units(self.together))
        return float(mine.mean() / together.mean()) if together.any() else 1.0


def step_lengths(
    lengths: Lengths, padded: Lengths, rows: NDArray[np.int64], together: NDArray[np.int64] | None
) -> StepLengths | None:
    """Return the lengths by which a batch's means must be weighted; None if all count the same.

    ``rows`` are this batch's samples and ``together`` those of the step, as ``Batches`` passes
    them to ``load``; ``padded`` are the lengths to which batches pad the samples. Every rank comes
    to the same answer.
    """
    if together is None or len(together) == len(rows):
        return None
    if (lengths[together] == padded[together]).all():
        return None
    return StepLengths(mine=lengths[rows], together=lengths[together])


def pad(samples: Sequence[NDArray[np.float32]], length: int) -> tuple[Tensor, Tensor | None]:
    """Stack samples (T_i, F) to (B, length, F), with zeros behind the shorter ones.

    Returns also the mask (B, length) of what is there; None if nothing is padded.
    """
    if all(len(sample) == length for sample in samples):
        return torch.from_numpy(np.stack(samples)), None
    stacked = np.zeros((len(samples), length, *samples[0].shape[1:]), dtype=np.float32)
    for row, sample in zip(stacked, samples, strict=True):
        row[: len(sample)] = sample
    lengths = torch.tensor([len(sample) for sample in samples])
    return torch.from_numpy(stacked), torch.arange(length) < lengths[:, None]


def masked_mean(values: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Return the mean of (B, T, ...) over the frames of the mask; 0 if it has none."""
    if mask_BT is None:
        return values.mean() if values.numel() else values.sum()
    weight = mask_BT.to(values.dtype).reshape(*mask_BT.shape, *[1] * (values.dim() - 2))
    per_frame = values[0, 0].numel() if values.shape[1] else 1
    return (values * weight).sum() / (weight.sum() * per_frame).clamp_min(1)
