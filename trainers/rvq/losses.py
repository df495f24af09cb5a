"""The loss: reconstruction, commitment, velocity and, with a skeleton, joints.

Shapes: B batch, T frames, F features, J joints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.engine.errors import ConfigError
from trainers.engine.masked import masked_mean
from trainers.motion.kinematics import ForwardKinematics, features_to_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.config import LossConfig
    from trainers.rvq.model import RVQVAE, Reconstruction

Part = TypeVar("Part", Tensor, float)

JOINT_SCALE = 10.0  # cm: joints are compared in decimetres, about the size of their spread

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
            matrices = features_to_matrix(features, self.kinematics.joints)
            places: Tensor = self.kinematics(matrices)
            return places


class MotionLoss(nn.Module):
    """The weighted sum of LossConfig, and each part by its name; joints if there is a skeleton."""

    def __init__(self, weights: LossConfig, places: JointPlaces | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.distance = DISTANCES[weights.recons_loss]
        self.places = places if weights.loss_joints else None

    def forward(
        self,
        found: Reconstruction,
        mask_BT: Tensor | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Parts of the loss over the frames of the mask; "loss" is the one to minimise.

        `shares` weigh each part if the batch is one of several ranks': see `MotionBatch.shares`.
        """
        parts = self.parts(found.output.float(), found.target, mask_BT)
        parts["commit"] = found.quantized.commitment
        if shares is not None:
            parts = {name: part * shares[name] for name, part in parts.items()}
        loss = self.total(parts)
        reported = {name: part.detach() for name, part in parts.items()}
        return {"loss": loss, **reported, "perplexity": found.quantized.perplexity.detach()}

    def parts(
        self, output_BTF: Tensor, target_BTF: Tensor, mask_BT: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the parts that compare motions, unweighted."""

        def far(found: Tensor, wanted: Tensor, mask: Tensor | None) -> Tensor:
            return masked_mean(self.distance(found, wanted, reduction="none"), mask)

        steps = None if mask_BT is None else mask_BT[:, 1:] & mask_BT[:, :-1]
        parts = {
            "recons": far(output_BTF, target_BTF, mask_BT),
            "velocity": far(output_BTF.diff(dim=1), target_BTF.diff(dim=1), steps),
        }
        if self.places is not None:
            there = self.places(target_BTF) / JOINT_SCALE
            parts["joints"] = far(self.places(output_BTF) / JOINT_SCALE, there, mask_BT)
        return parts

    def total(self, parts: Mapping[str, Part]) -> Part:
        """Add the weighted parts, tensors or numbers."""
        weights = self.weights
        loss = parts["recons"] + weights.commit * parts["commit"]
        loss = loss + weights.loss_vel * parts["velocity"]
        return loss + weights.loss_joints * parts["joints"] if "joints" in parts else loss


def build_loss(config: LossConfig, model: RVQVAE, skeleton: Skeleton | None) -> MotionLoss:
    """Build the loss of a config, with joints if the data has a skeleton.

    Raises:
        ConfigError: joints are asked for and there is no skeleton.
    """
    if skeleton is None and config.loss_joints:
        raise ConfigError("loss.loss_joints needs a data set with a skeleton.json")
    places = None if skeleton is None else JointPlaces(skeleton, model.mean, model.std)
    return MotionLoss(config, places)
