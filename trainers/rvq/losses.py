"""What training minimises: reconstruction, commitment, velocity and, with a skeleton, joints.

Shapes: B batch, T frames, F features, J joints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.rvq.kinematics import ForwardKinematics, features_to_matrix

if TYPE_CHECKING:
    from trainers.rvq.config import LossConfig
    from trainers.rvq.model import Reconstruction
    from trainers.rvq.skeleton import Skeleton

DISTANCES = {"l1_smooth": F.smooth_l1_loss, "l1": F.l1_loss, "l2": F.mse_loss}


class JointPlaces(nn.Module):
    """Normalised features -> joint positions relative to the translation joint, (B, T, J, 3)."""

    mean: Tensor
    std: Tensor

    def __init__(self, skeleton: Skeleton, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.kinematics = ForwardKinematics(skeleton)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, normalised_BTF: Tensor) -> Tensor:
        """Positions in the skeleton's unit; float32 whatever the arithmetic around."""
        with torch.autocast(normalised_BTF.device.type, enabled=False):
            features = normalised_BTF.float() * self.std + self.mean
            return self.kinematics(features_to_matrix(features, self.kinematics.joints))


class MotionLoss(nn.Module):
    """The weighted sum of LossConfig, and each part by its name.

    Args:
        weights: of the parts.
        places: joints by forward kinematics, where a skeleton is there.
        scale: length that the joints' distances are divided by, so that the weight has no unit.
    """

    def __init__(
        self, weights: LossConfig, places: JointPlaces | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.weights = weights
        self.distance = DISTANCES[weights.recons_loss]
        self.places = places if weights.loss_joints else None
        self.scale = scale

    def forward(self, found: Reconstruction, mask_BT: Tensor | None = None) -> dict[str, Tensor]:
        """Parts of the loss over the frames of the mask; "loss" is the one to minimise."""
        output, target = found.output.float(), found.target
        recons = masked_mean(self.distance(output, target, reduction="none"), mask_BT)
        steps = None if mask_BT is None else mask_BT[:, 1:] & mask_BT[:, :-1]
        velocity = masked_mean(
            self.distance(output.diff(dim=1), target.diff(dim=1), reduction="none"), steps
        )
        commit = found.quantized.commitment
        loss = recons + self.weights.commit * commit + self.weights.loss_vel * velocity
        parts = {"recons": recons, "commit": commit, "velocity": velocity}
        if self.places is not None:
            there = self.places(target) / self.scale
            placed = self.places(output) / self.scale
            joints = masked_mean(self.distance(placed, there, reduction="none"), mask_BT)
            loss = loss + self.weights.loss_joints * joints
            parts["joints"] = joints
        parts = {name: part.detach() for name, part in parts.items()}
        return {"loss": loss, **parts, "perplexity": found.quantized.perplexity.detach()}


def masked_mean(values: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Mean of (B, T, ...) over the frames of the mask; 0 where there is none."""
    if mask_BT is None:
        return values.mean() if values.numel() else values.sum()
    weight = mask_BT.to(values.dtype).reshape(*mask_BT.shape, *[1] * (values.dim() - 2))
    per_frame = values[0, 0].numel() if values.shape[1] else 1
    return (values * weight).sum() / (weight.sum() * per_frame).clamp_min(1)
