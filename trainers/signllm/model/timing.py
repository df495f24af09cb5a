"""When what is signed: how far a frame is in its sentence, and in the sign of its token.

Shapes: B sentences, S tokens or glosses, T frames, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.signllm.model.text import sinusoids

COUNTER_SCALE = 1000.0  # the counter as a place of `sinusoids`: 0..1 becomes 0..1000
TOKEN_SCALE = 32.0  # the same for the share of a token that is over: about its frames
SHARPNESS = 20.0  # a token gives way to the next one within a tenth of its time


def counters(frames: Tensor, count: int) -> Tensor:
    """(B,) numbers of frames -> (B, count) progress: 0 at the first frame, 1 at the last."""
    places = torch.arange(count, device=frames.device)
    return places / (frames[:, None] - 1).clamp_min(1)


def progress_code(progress: Tensor, width: int) -> Tensor:
    """(...) in 0..1 -> (..., width): the same for a frame and for the token that it signs."""
    return sinusoids(progress * COUNTER_SCALE, width)


def middles(durations: Tensor) -> Tensor:
    """(B, S) durations -> (B, S) times in the middle of each."""
    return durations.cumsum(1) - durations / 2


def locate(durations: Tensor, mask: Tensor, frames: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the token of each frame, if tokens are signed one after the other.

    Returns:
        Weights (B, count, S) of the tokens in each of ``count`` frames, mostly of one; and the
        share (B, count) of that one that is over. Both have gradients for ``durations`` (B, S),
        which may be in any unit: sentence b has ``frames[b]`` frames.
    """
    scale = frames / durations.sum(1).clamp_min(1e-3)
    lasting = durations * scale[:, None]
    times = torch.arange(count, device=frames.device)[:, None] + 0.5
    away = (times - middles(lasting)[:, None]) / lasting[:, None].clamp_min(0.5)
    nearness = (-SHARPNESS * away.square()).masked_fill(~mask[:, None], -torch.inf)
    weights = nearness.softmax(-1)
    return weights, (weights * away).sum(-1) + 0.5
