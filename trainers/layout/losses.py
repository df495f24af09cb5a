"""The parts of the loss, each a mean over elements or pairs of them, in units of the state.

All but the reconstruction judge the layout x0 that is predicted, weigh a layout by the share of it
that is not noise, and are 0 if x0 is the true layout: what a true layout does, such as overlap,
costs nothing. The parts have the names of the public code's, which are on pixels; one of those has
no gradient. Source: loss_functions.py of github.com/JiazheWei/LayoutMaster (32f1ad1).
Shapes: B layouts, N elements, P = N * N pairs, 6 values of an element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.layout.layouts.layout import CONFIDENCE, LAYER

if TYPE_CHECKING:
    from torch import nn

    from trainers.engine.masked import StepLengths
    from trainers.layout.config import LossConfig
    from trainers.layout.data import LayoutBatch
    from trainers.layout.noise import Noise

ALIGNED = 0.004  # of the canvas: edges closer than this align
GOLDEN = 1.618
LEAST = 1e-4  # of the canvas: no side is taken as shorter


def boxes_of(state_BN6: Tensor) -> Tensor:
    """Return left, top, right, bottom (B, N, 4) as shares of the canvas; sides are >= 0."""
    centre, size = state_BN6[..., :2] / 2 + 0.5, (state_BN6[..., 2:4] / 2 + 0.5).clamp_min(LEAST)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


class LayoutLoss:
    """The loss of a config."""

    def __init__(self, config: LossConfig, noise: Noise) -> None:
        self.config = config
        self.noise = noise

    def step(self, model: nn.Module, batch: LayoutBatch) -> dict[str, Tensor]:
        """Return the loss and its parts for what the model makes of a batch with its noise."""
        kept = self.noise.kept(batch.time)
        noisy = self.noise.add_noise(batch.state, batch.noise, kept)
        return self.judge(model(noisy, batch.time, batch.elements), noisy, kept, batch)

    def judge(
        self, found: Tensor, noisy: Tensor, kept_B: Tensor, batch: LayoutBatch
    ) -> dict[str, Tensor]:
        """Return the loss and its parts for what the network found (B, N, 6)."""
        config, mask, truth = self.config, batch.elements.mask, batch.state
        wanted = ~batch.elements.given & mask[..., None]
        target = self.noise.target(truth, batch.noise, kept_B)
        x0 = self.noise.to_state(found, noisy, kept_B)
        x0 = torch.where(wanted, x0, truth)
        weight = kept_B[:, None]
        elements, pairs = mask.sum(), (mask.sum(1) * (mask.sum(1) - 1)).sum()
        share = _share(batch.lengths, 1), _share(batch.lengths, 2)

        def per_element(values_BN: Tensor) -> Tensor:
            return share[0] * (values_BN * mask).sum() / elements.clamp_min(1)

        def per_pair(values_BNN: Tensor) -> Tensor:
            both = mask[:, :, None] & mask[:, None]
            both = both & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
            return share[1] * (values_BNN * both).sum() / pairs.clamp_min(1)

        error = self._distance(found, target)
        parts = {"reconstruction": per_element((error * wanted).mean(-1))}
        boxes, true_boxes = boxes_of(x0), boxes_of(truth)
        iou = giou(boxes, true_boxes)
        squared = (x0 - truth).square()
        parts["position"] = per_element(weight * (squared[..., :4].mean(-1) + 0.5 * (1 - iou)))
        parts["layer"] = per_element(weight * squared[..., LAYER]) + 0.3 * per_pair(
            weight[..., None] * _disorder(x0[..., LAYER], truth[..., LAYER])
        )
        parts["confidence"] = per_element(weight * squared[..., CONFIDENCE])
        parts["aesthetic"] = per_element(
            weight * (_aesthetics(boxes, mask) - _aesthetics(true_boxes, mask)).abs()
        )
        excess = (overlaps(boxes) - overlaps(true_boxes)).clamp_min(0)
        parts["overlap"] = per_pair(weight[..., None] * excess)
        parts["alignment"] = per_pair(weight[..., None] * misalignment(boxes, true_boxes))
        weighed = {
            name: getattr(config, f"loss_{name}") * part
            for name, part in parts.items()
            if name != "reconstruction"
        }
        return {"loss": parts["reconstruction"] + sum(weighed.values()), **parts}

    def _distance(self, found: Tensor, target: Tensor) -> Tensor:
        if self.config.reconstruction == "l1":
            return (found - target).abs()
        if self.config.reconstruction == "l2":
            return (found - target).square()
        return F.huber_loss(found, target, reduction="none")


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU (...) of boxes (..., 4): left, top, right, bottom (Rezatofighi et al. 2019).

    -1..1, and 1 if they are the same; it has a gradient for boxes that lie apart too.
    """
    low, high = torch.maximum(boxes, others), torch.minimum(boxes, others)
    inside = (high[..., 2:] - low[..., :2]).clamp_min(0).prod(-1)
    both = _area(boxes) + _area(others) - inside
    hull = (low[..., 2:] - high[..., :2]).prod(-1)
    return inside / both - (hull - both) / hull


def overlaps(boxes: Tensor) -> Tensor:
    """Intersection of each pair (B, N, N) as a share of the smaller one's area."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    area = _area(boxes)
    return (high - low).clamp_min(0).prod(-1) / torch.minimum(area[:, :, None], area[:, None])


def misalignment(boxes: Tensor, true_boxes: Tensor) -> Tensor:
    """Mean distance (B, N, N) of those edges and centres of a pair that align in the truth."""
    edges, true_edges = _edges(boxes), _edges(true_boxes)
    aligned = (true_edges[:, :, None] - true_edges[:, None]).abs() < ALIGNED
    apart = (edges[:, :, None] - edges[:, None]).abs()
    excess = (apart - (true_edges[:, :, None] - true_edges[:, None]).abs()).clamp_min(0)
    return (excess * aligned).mean(-1)


def _edges(boxes: Tensor) -> Tensor:
    """Left, centre, right, top, middle, bottom (B, N, 6)."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat([boxes, middle], dim=-1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _disorder(layer: Tensor, truth: Tensor) -> Tensor:
    """Hinge loss (B, N, N) of the order of pairs, 0 if each is apart as in the truth."""
    apart, truly = layer[:, :, None] - layer[:, None], truth[:, :, None] - truth[:, None]
    return (truly.abs() - apart * truly.sign()).clamp_min(0)


def _aesthetics(boxes: Tensor, mask: Tensor) -> Tensor:
    """(B, N) of each element: far from the golden ratio, uneven in area, far from the middle.

    0.1 |w / h - 1.618| + 0.2 deviation / mean of areas + 0.15 distance of the middle of all from
    the canvas's. The first is bounded by a logarithm.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    ratio = (sides[..., 0] / sides[..., 1]).log() - GOLDEN_LOG
    count = mask.sum(1, keepdim=True).clamp_min(1)
    area = _area(boxes)
    mean = (area * mask).sum(1, keepdim=True) / count
    spread = (((area - mean).square() * mask).sum(1, keepdim=True) / count + LEAST**2).sqrt() / mean
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 - 0.5
    centre = (middle * mask[..., None]).sum(1, keepdim=True) / count[..., None]
    off = (centre.square().sum(-1) + LEAST**2).sqrt()
    return 0.1 * ratio.abs() + 0.2 * spread + 0.15 * off


GOLDEN_LOG = float(torch.tensor(GOLDEN).log())


def _share(lengths: StepLengths | None, of: int) -> float:
    """Return the weight of this batch's mean over elements (1) or pairs (2) in the step's."""
    if lengths is None:
        return 1.0
    return lengths.share((lambda n: n) if of == 1 else (lambda n: n * (n - 1)))
