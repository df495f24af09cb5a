"""The loss: reconstruction, the guide's RL loss, velocity, bones, length, gloss and counter.

All parts are means over frames (or over sentences), in which a joint that was not seen counts as
no error; so they do not depend on padding, nor on how sentences are dealt out to ranks. If frames
do not follow from the true ones before them, signs may come early or late: see alignment.py.

Shapes: B sentences, T frames, J = 50 joints, V = 150 values, G slots of glosses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.engine.masked import masked_mean
from trainers.signllm.alignment import align
from trainers.signllm.data import NO_GLOSS
from trainers.signllm.model.timing import counters
from trainers.signllm.skeleton import BONES, COUNT, HANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainers.engine.masked import StepLengths
    from trainers.signllm.config import LossConfig
    from trainers.signllm.data import SignBatch
    from trainers.signllm.model.model import Signs


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is compared with the generated frames, normalised."""

    poses: Tensor  # (B, T, V)
    seen: Tensor  # (B, T, J)
    moves: Tensor  # (B, T - 1, V) from frame to frame
    moved: Tensor  # (B, T - 1, J) whether a joint was seen in both


class SignLoss(nn.Module):
    """The weighted sum of LossConfig, and each part by its name; parts of weight 0 are left out."""

    weight: Tensor
    bones: Tensor
    bone_means: Tensor
    deviation: Tensor

    def __init__(self, config: LossConfig, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.config = config
        weight = torch.ones(COUNT)
        weight[list(HANDS)] = config.hands
        self.register_buffer("weight", (weight / weight.mean())[:, None], persistent=False)
        # Its ends' difference is each bone's column: that is faster than to gather the ends.
        bones = torch.zeros(COUNT, len(BONES))
        for column, (start, end) in enumerate(BONES):
            bones[start, column], bones[end, column] = -1, 1
        ends = torch.kron(bones, torch.eye(3)).to(std.device)  # (V, bones x 3)
        self.register_buffer("bones", std[:, None] * ends, persistent=False)
        self.register_buffer("bone_means", mean @ ends, persistent=False)
        self.register_buffer("deviation", std.mean(), persistent=False)
        self._weights = {
            "reconstruction": 1.0,
            "rl": config.loss_rl,
            "velocity": config.loss_velocity,
            "bone": config.loss_bone,
            "length": config.loss_length,
            "gloss": config.loss_gloss,
            "counter": config.loss_counter,
        }

    def forward(self, found: Signs, batch: SignBatch) -> dict[str, Tensor]:
        """Return the parts, and "loss", the one to minimise."""
        parts = self.parts(found, batch)
        loss = torch.stack([self._weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def total(self, parts: Mapping[str, float]) -> float:
        """Return the weighted sum of parts by name."""
        return sum(self._weights[name] * part for name, part in parts.items())

    def parts(self, found: Signs, batch: SignBatch) -> dict[str, Tensor]:
        """Return the unweighted parts, each weighed by its share of the step."""
        with torch.autocast(found.poses.device.type, enabled=False):
            return self._parts(found, batch)

    def _parts(self, found: Signs, batch: SignBatch) -> dict[str, Tensor]:
        mask = batch.mask
        steps = mask[:, 1:]  # a frame that is there follows one that is
        frames = _share(batch.lengths, least=0)
        differences = _share(batch.lengths, least=1)
        poses = found.poses.float()
        wanted = self._wanted(poses, found, batch)
        error = self._distance(poses, wanted.poses, wanted.seen)
        velocity = self._distance(poses.diff(dim=1), wanted.moves, wanted.moved)
        parts = {
            "reconstruction": frames * masked_mean(error, mask),
            "rl": self._rl(error, found.quality.float(), mask, frames),
            "velocity": differences * masked_mean(velocity, steps),
            "bone": frames * masked_mean(self._bone_error(poses, wanted), mask),
            "length": (found.log_frames - batch.frames.float().log()).abs().mean(),
        }
        if found.gloss is not None:
            parts["gloss"] = _gloss_error(found.gloss.float(), batch.gloss)
        if found.counter is not None:
            wrong = (found.counter.float() - counters(batch.frames, mask.shape[1])).abs()
            parts["counter"] = frames * masked_mean(wrong, mask)
        return {name: part for name, part in parts.items() if self._weights[name]}

    def _wanted(self, poses: Tensor, found: Signs, batch: SignBatch) -> Wanted:
        """What the generated ``poses`` are compared with, each frame with the one it stands for."""
        wanted = Wanted(
            poses=batch.poses,
            seen=batch.seen,
            moves=batch.poses.diff(dim=1),
            moved=batch.seen[:, 1:] & batch.seen[:, :-1],
        )
        slack = self.config.timing_slack
        if not slack or found.counter is not None:  # given the true frames before, time is known
            return wanted
        frames = align(poses, batch.poses, batch.seen, batch.frames, slack)
        moves = (frames[:, 1:] - 1).clamp_min(0)
        return Wanted(
            poses=_picked(wanted.poses, frames),
            seen=_picked(wanted.seen, frames),
            moves=_picked(wanted.moves, moves),
            moved=_picked(wanted.moved, moves),
        )

    def _distance(self, found: Tensor, wanted: Tensor, seen_BTJ: Tensor) -> Tensor:
        """(B, T, V) twice -> (B, T) mean over the values of the joints that were seen."""
        difference = (found - wanted).unflatten(-1, (COUNT, 3))
        error = difference.abs() if self.config.reconstruction == "l1" else difference.square()
        mean: Tensor = (error * (self.weight * seen_BTJ[..., None])).mean((-1, -2))
        return mean

    def _rl(self, error: Tensor, quality: Tensor, mask: Tensor, share: float) -> Tensor:
        """The 'RL loss' of the public SignLLM, for each frame: a reconstruction by priority.

        error * (1 + alpha * (1 - quality)) - beta * variance of the quality over a sentence. It
        weighs frames and rewards qualities that differ; there is no policy and no reward in it.
        Source: models/ of github.com/zhuchengyao/SignEggRoll (2b8d75a), class RLLoss.
        """
        weighed = error * (1 + self.config.rl_alpha * (1 - quality))
        count = mask.sum(1, keepdim=True).clamp_min(1)
        mean = (quality * mask).sum(1, keepdim=True) / count
        variance = ((quality - mean).square() * mask).sum(1) / count[:, 0]
        return share * masked_mean(weighed, mask) - self.config.rl_beta * variance.mean()

    def _bone_error(self, poses: Tensor, wanted: Wanted) -> Tensor:
        """(B, T) mean difference of bones' lengths, in mean deviations of a value."""
        starts, ends = zip(*BONES, strict=True)
        both = wanted.seen[..., starts] & wanted.seen[..., ends]
        difference = self._bone_lengths(poses) - self._bone_lengths(wanted.poses)
        mean: Tensor = (difference.abs() * both).mean(-1) / self.deviation
        return mean

    def _bone_lengths(self, poses: Tensor) -> Tensor:
        """(B, T, V) normalised -> (B, T, bones) lengths in the units of the data."""
        ways = (poses @ self.bones + self.bone_means).unflatten(-1, (-1, 3))
        lengths: Tensor = ways.square().sum(-1).clamp_min(1e-12).sqrt()
        return lengths


def _picked(of_frames: Tensor, frames: Tensor) -> Tensor:
    """(B, T, N) and (B, S) numbers of frames -> (B, S, N)."""
    return of_frames.gather(1, frames[..., None].expand(-1, -1, of_frames.shape[-1]))


def _share(lengths: StepLengths | None, least: int) -> float:
    """Return the weight of this batch's mean among those of the step: see StepLengths."""
    if lengths is None:
        return 1.0
    return lengths.share(lambda count: np.maximum(count - least, 0))


def _gloss_error(logits_BGC: Tensor, gloss_BG: Tensor) -> Tensor:
    """Mean over sentences of the cross-entropy of their glosses; 0 for those without."""
    error = F.cross_entropy(
        logits_BGC.transpose(1, 2), gloss_BG, ignore_index=NO_GLOSS, reduction="none"
    )
    count = (gloss_BG != NO_GLOSS).sum(1).clamp_min(1)
    return (error.sum(1) / count).mean()
