"""Rotations and forward kinematics on tensors, differentiable.

6D is the continuous form of Zhou et al. 2019 (On the Continuity of Rotation Representations in
Neural Networks): the first two columns of the matrix, first column first.
Shapes: ... any leading axes, J joints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.motion.skeleton import Skeleton

SMALL = 1e-8


def axis_angle_to_matrix(vectors: Tensor) -> Tensor:
    """(..., 3) radians -> (..., 3, 3), by Rodrigues: R = I + a K + b K^2.

    a = sin(t) / t and b = (1 - cos(t)) / t^2 with K the cross-product matrix of the vector; near
    t = 0 their series, so that values and gradients stay finite.
    """
    square = (vectors * vectors).sum(-1)[..., None, None]
    small = square < SMALL
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / (angle * angle))
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    cross = cross.reshape(*vectors.shape, 3)
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return eye + a * cross + b * (cross @ cross)


def matrix_to_axis_angle(matrices: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) radians, angles in [0, pi], through the largest quaternion part."""
    diagonal = matrices.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    # 4 q_i^2 for (x, y, z, w), then the row of 4 q_i q_j that belongs to the largest
    squares = torch.cat([1 + 2 * diagonal - trace, 1 + trace], dim=-1).clamp_min(0)
    plus, minus = matrices + matrices.mT, matrices.mT - matrices
    xy, xz, yz = plus[..., 0, 1], plus[..., 0, 2], plus[..., 1, 2]
    wx, wy, wz = minus[..., 1, 2], minus[..., 2, 0], minus[..., 0, 1]
    xx, yy, zz, ww = squares.unbind(-1)
    rows = torch.stack([xx, xy, xz, wx, xy, yy, yz, wy, xz, yz, zz, wz, wx, wy, wz, ww], dim=-1)
    rows = rows.reshape(*squares.shape, 4)
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = F.normalize(rows.gather(-2, best).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    axis, real = quaternion[..., :3], quaternion[..., 3:]
    sine = axis.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, real)
    return axis * torch.where(sine < SMALL, 2.0, angle / sine.clamp_min(SMALL))


def sixd_to_matrix(sixd: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3) by Gram-Schmidt; any two independent columns will do."""
    first = F.normalize(sixd[..., :3], dim=-1)
    second = sixd[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def features_to_matrix(features: Tensor, joints: int) -> Tensor:
    """(..., J*3) axis-angle or (..., J*6) 6D -> (..., J, 3, 3)."""
    split = features.unflatten(-1, (joints, -1))
    return axis_angle_to_matrix(split) if split.shape[-1] == 3 else sixd_to_matrix(split)


def features_to_axis_angle(features: Tensor, joints: int) -> Tensor:
    """(..., J*3) axis-angle or (..., J*6) 6D -> (..., J*3) axis-angle."""
    split = features.unflatten(-1, (joints, -1))
    if split.shape[-1] == 3:
        return features
    return matrix_to_axis_angle(sixd_to_matrix(split)).flatten(-2)


class ForwardKinematics(nn.Module):
    """Joint positions of a skeleton, its translation joint at the origin.

    p[j] = p[parent] + G[parent] @ offset[j],  G[j] = G[parent] @ R[j], one depth at a time. Only
    the joints that the translation joint carries are placed: the others do not move with the pose.
    """

    order: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.joints = len(skeleton)
        self.moving = skeleton.moving
        root = skeleton.translation_joint
        self._above = skeleton.ancestors(root)
        self._levels = nn.ModuleList()
        level, found = [root], [root]
        while children := [j for j in self.moving if j != root and skeleton.parents[j] in level]:
            rows = [level.index(skeleton.parents[j]) for j in children]
            offsets = [skeleton.offsets[j] for j in children]
            self._levels.append(_Level(joints=children, rows=rows, offsets=offsets))
            found += children
            level = children
        order = torch.tensor([found.index(j) for j in self.moving])
        self.register_buffer("order", order, persistent=False)

    def forward(self, matrices: Tensor) -> Tensor:
        """(..., J, 3, 3) local rotations -> (..., len(moving), 3) positions, order of `moving`."""
        root = self.moving[0]
        turned = matrices[..., root : root + 1, :, :]
        for joint in self._above:
            turned = matrices[..., joint : joint + 1, :, :] @ turned
        placed = torch.zeros_like(turned[..., 0])
        found = [placed]
        for level in self._levels:
            turned, placed = level(matrices, turned, placed)
            found.append(placed)
        return torch.cat(found, dim=-2)[..., self.order, :]


class _Level(nn.Module):
    """Joints of one depth, the places of their parents in the depth above, and their bones.

    Buffers, for an index that is a list is copied to the GPU at every use, and waited for.
    """

    joints: Tensor
    rows: Tensor
    offsets: Tensor

    def __init__(self, **tables: Sequence[Any]) -> None:
        super().__init__()
        for name, values in tables.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, matrices: Tensor, turned: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices (..., N, 3, 3) and positions (..., N, 3) of one level -> those of this one."""
        above = turned[..., self.rows, :, :]
        bones = (above * self.offsets.to(matrices.dtype)[:, None, :]).sum(-1)
        placed = placed[..., self.rows, :] + bones
        return above @ matrices[..., self.joints, :, :], placed
