"""Errors of reconstructions: the same figures for any batch size and number of ranks.

Shapes: B clips, T frames, J joints, F features, Q quantizers, K codes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.batches import evaluation_batches, to_device
from trainers.engine.metrics import reduce_sums
from trainers.motion.kinematics import features_to_matrix
from trainers.rvq.losses import JointPlaces
from trainers.rvq.quantizer import DROPPED

if TYPE_CHECKING:
    from trainers.engine.distributed import World
    from trainers.rvq.data import MotionData
    from trainers.rvq.losses import MotionLoss
    from trainers.rvq.model import RVQVAE

FRAMES_PER_BATCH = 16_384
ROUND_TO = 64  # frames: clips of about one length share a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors over every frame of every clip of a split; lists are per joint.

    l2: length of the difference of a joint's features (radians for axis-angle; 6D has no unit).
    velocity: the same of the differences between neighbouring frames, per frame.
    angle_deg: angle of the rotation between a joint's rotation and the one that came back.
    position: distance between joints placed by forward kinematics with the translation joint at
    the origin and the global orientation kept, in the skeleton's unit; mpjpe is its mean over the
    joints that move with the pose and over frames. None if no skeleton is known.
    """

    clips: int
    frames: int
    loss: dict[str, float]
    l2: list[float]
    velocity: list[float]
    angle_deg: list[float]
    position: list[float] | None
    position_mean_pose: list[float] | None
    """The same for the mean pose of the training split in place of the reconstruction."""
    l2_mean_pose: list[float]
    perplexity: list[float]  # per quantizer: exp of the entropy of the codes' use
    codes_used: list[int]  # per quantizer: codes that occur in this split
    dead_codes: list[int]  # per quantizer: codes that training no longer used when it ended
    nb_code: int

    @property
    def mpjpe(self) -> float | None:
        """Mean per joint position error."""
        return None if self.position is None else float(np.mean(self.position))

    @property
    def mpjpe_mean_pose(self) -> float | None:
        """Mean per joint position error of the mean pose."""
        return None if self.position_mean_pose is None else float(np.mean(self.position_mean_pose))

    def summary(self) -> dict[str, float]:
        """Return the scalars that training reports."""
        figures = {
            **self.loss,
            "l2": float(np.mean(self.l2)),
            "velocity_error": float(np.mean(self.velocity)),
            "angle_deg": float(np.mean(self.angle_deg)),
            "perplexity": float(np.mean(self.perplexity)),
            "code_usage": float(np.mean(self.codes_used)) / self.nb_code,
        }
        return figures if self.mpjpe is None else {**figures, "mpjpe": self.mpjpe}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        more = {"mpjpe": self.mpjpe, "mpjpe_mean_pose": self.mpjpe_mean_pose}
        return {"summary": self.summary(), **more, **asdict(self)}


@torch.no_grad()
def score(
    model: RVQVAE, data: MotionData, loss: MotionLoss, mean_pose: Tensor, world: World
) -> Score:
    """Score a model in evaluation mode; every rank calls it and takes its share of the clips."""
    sums = _Sums(model, data, loss, mean_pose)
    lengths = data.source.lengths
    rounded = -(-lengths // ROUND_TO) * ROUND_TO
    for rows in evaluation_batches(rounded, 1, world, FRAMES_PER_BATCH):
        batch = to_device(data.clips(rows), world.device)
        found = model(batch.features, batch.mask)
        for row, length in enumerate(lengths[rows]):
            sums.add(found.output[row, :length], found.target[row, :length])
        sums.add_codes(found.quantized.codes, found.quantized.commitment)
    return sums.reduce(world, len(lengths))


class _Sums:
    """Sums over frames, clip by clip, without the padding of batches."""

    def __init__(
        self, model: RVQVAE, data: MotionData, loss: MotionLoss, mean_pose: Tensor
    ) -> None:
        skeleton = data.skeleton
        self.model, self.loss = model, loss
        self.joints = data.source.joints
        self.places, moving = None, 0
        if skeleton is not None:
            self.places = JointPlaces(skeleton, model.mean, model.std).to(model.mean.device)
            moving = len(skeleton.moving)
        self.mean_pose = model.normalise(mean_pose)
        quantizers, codes = model.quantizer.num_quantizers, model.quantizer.nb_code
        shapes = {
            "frames": (), "steps": (), "tokens": (),
            "recons": (), "velocity": (), "joints": (), "commit": (),
            "l2": (self.joints,), "l2_mean_pose": (self.joints,), "speed": (self.joints,),
            "angle": (self.joints,), "position": (moving,), "position_mean_pose": (moving,),
            "codes": (quantizers, codes),
        }  # fmt: skip
        self.sums = {
            name: torch.zeros(shape, dtype=torch.float64, device=model.mean.device)
            for name, shape in shapes.items()
        }

    def add(self, output_TF: Tensor, target_TF: Tensor) -> None:
        """One clip, normalised features."""
        sums, frames = self.sums, len(target_TF)
        sums["frames"] += frames
        sums["steps"] += frames - 1
        for name, part in self.loss.parts(output_TF[None], target_TF[None]).items():
            sums[name] += part * (frames - 1 if name == "velocity" else frames)
        out, there = self.model.denormalise(output_TF), self.model.denormalise(target_TF)
        mean = self.model.denormalise(self.mean_pose).expand_as(there)
        sums["l2"] += self._lengths(out - there)
        sums["l2_mean_pose"] += self._lengths(mean - there)
        sums["speed"] += self._lengths(out.diff(dim=0) - there.diff(dim=0))
        between = features_to_matrix(out, self.joints).mT @ features_to_matrix(there, self.joints)
        sums["angle"] += _angle(between).sum(0)
        if self.places is not None:
            placed = self.places(target_TF)
            mean_placed = self.places(self.mean_pose)
            sums["position"] += (self.places(output_TF) - placed).norm(dim=-1).sum(0)
            sums["position_mean_pose"] += (mean_placed - placed).norm(dim=-1).sum(0)

    def _lengths(self, difference_TF: Tensor) -> Tensor:
        lengths: Tensor = difference_TF.unflatten(-1, (self.joints, -1)).norm(dim=-1)
        return lengths.sum(0)

    def add_codes(self, codes_BNQ: Tensor, commitment: Tensor) -> None:
        valid = codes_BNQ[..., 0] != DROPPED
        self.sums["tokens"] += valid.sum()
        self.sums["commit"] += commitment * valid.sum()
        for layer, row in enumerate(self.sums["codes"]):
            row.add_(torch.bincount(codes_BNQ[..., layer][valid], minlength=len(row)))

    def reduce(self, world: World, clips: int) -> Score:
        sums = reduce_sums(self.sums, world)
        frames, steps = sums["frames"], sums["steps"].clamp_min(1)
        loss = {
            "recons": (sums["recons"] / frames).item(),
            "velocity": (sums["velocity"] / steps).item(),
            "commit": (sums["commit"] / sums["tokens"]).item(),
        }
        if self.loss.places is not None:
            loss["joints"] = (sums["joints"] / frames).item()
        share = sums["codes"] / sums["codes"].sum(-1, keepdim=True).clamp_min(1)
        scored = self.places is not None
        return Score(
            clips=clips,
            frames=int(frames),
            loss={"loss": self.loss.total(loss), **loss},
            l2=(sums["l2"] / frames).tolist(),
            velocity=(sums["speed"] / steps).tolist(),
            angle_deg=torch.rad2deg(sums["angle"] / frames).tolist(),
            position=(sums["position"] / frames).tolist() if scored else None,
            position_mean_pose=(sums["position_mean_pose"] / frames).tolist() if scored else None,
            l2_mean_pose=(sums["l2_mean_pose"] / frames).tolist(),
            perplexity=torch.special.entr(share).sum(-1).exp().tolist(),
            codes_used=(sums["codes"] > 0).sum(-1).tolist(),
            dead_codes=self.model.quantizer.dead_codes(),
            nb_code=sums["codes"].shape[1],
        )


def _angle(matrices: Tensor) -> Tensor:
    """(..., 3, 3) -> (...) radians: atan2 of sine and cosine, exact for small angles too."""
    cosine = (matrices.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    skew = (matrices - matrices.mT)[..., (2, 0, 1), (1, 2, 0)]
    return torch.atan2(skew.norm(dim=-1) / 2, cosine)
