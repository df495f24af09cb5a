"""Which frame of the truth each generated frame is compared with.

How fast each sign of a sentence was signed cannot be known from its text. Compared frame by frame,
the best answer is then a blur of all tempos; so a sign may come a little early or late.

Shapes: B sentences, T frames, J = 50 joints, V = 150 values, S shifts of time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

PRICE = 0.05  # of another shift than in the frame before, in deviations of a value


@torch.no_grad()
def align(found: Tensor, truth: Tensor, seen: Tensor, frames: Tensor, slack: int) -> Tensor:
    """(B, T, V) twice, (B, T, J), (B,) -> (B, T) numbers of the frames of ``truth`` to compare.

    The least sum of distances, if frame t is compared with one of t - slack to t + slack, and the
    shift changes by one at most from frame to frame. So no frame is compared with an earlier one
    than the frame before it. The first and the last frame of a sentence are not shifted.
    """
    places = torch.arange(found.shape[1], device=found.device)
    shifts = torch.arange(-slack, slack + 1, device=found.device)
    others = places[:, None] + shifts
    outside = (others < 0) | (others >= frames[:, None, None])
    ended = (places >= frames[:, None] - 1)[..., None]
    costs = _distances(found, truth, seen.repeat_interleave(3, dim=-1)).gather(
        2, others.clamp(0, len(places) - 1).expand(len(found), -1, -1)
    )
    costs = costs.masked_fill(outside | ended, torch.inf).masked_fill(ended & (shifts == 0), 0.0)
    columns: Tensor = _cheapest(costs)
    return places + columns - slack


def _distances(found: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """(B, T, V) thrice -> (B, T, T) root mean squares over what is known of a frame of truth."""
    weight = known.to(found.dtype)
    given = truth * weight
    squares = found.square() @ weight.mT - 2 * found @ given.mT + (given * truth).sum(-1)[:, None]
    return (squares / weight.sum(-1)[:, None].clamp_min(1)).clamp_min(0).sqrt()


# One operation to torch: a rehearsal of memory then need not follow its thousands of small ones.
@custom_op("signllm::cheapest", mutates_args=(), schema="(Tensor costs) -> Tensor")
def _cheapest(costs: Tensor) -> Tensor:
    """(B, T, S) -> (B, T) the column in each frame, from the middle one in the first frame on."""
    middle = costs.shape[2] // 2
    prices = costs.new_tensor([PRICE, 0.0, PRICE])
    walled = F.pad(torch.full_like(costs[:, 0], torch.inf), (1, 1), value=torch.inf)
    total, ways = walled[:, 1:-1], walled.unfold(1, 3, 1)  # from one lower, the same, one higher
    total[:, middle] = costs[:, 0, middle]
    came = []
    for cost in costs[:, 1:].unbind(1):
        least, way = (ways + prices).min(-1)
        torch.add(least, cost, out=total)
        came.append(way)
    at = torch.full((len(costs), 1), middle, device=costs.device)
    path = [at]
    for way in reversed(came):
        at = at + way.gather(1, at) - 1
        path.append(at)
    return torch.cat(path[::-1], dim=1)


@_cheapest.register_fake
def _(costs: Tensor) -> Tensor:
    return costs.new_empty(costs.shape[:2], dtype=torch.long)
