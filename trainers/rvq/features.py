"""Poses as the network sees them, and the ways to vary them (numpy, no torch).

6D features are the first two columns of each joint's matrix, first column first; see kinematics.py
for the same on tensors. Shapes: ... any leading axes, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import ConfigError
from trainers.rvq.skeleton import to_matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.rvq.config import DatasetConfig
    from trainers.rvq.skeleton import Skeleton


def values_per_joint(rotation: str) -> int:
    """Features that one joint's rotation takes."""
    return {"axis_angle": 3, "6d": 6}[rotation]


def choose_rotation(wanted: str, skeleton: Skeleton | None) -> str:
    """Resolve "auto": 6d where a real skeleton is there, for it alone is scored by its joints."""
    if wanted != "auto":
        return wanted
    return "6d" if skeleton is not None and not skeleton.approximate else "axis_angle"


def from_axis_angle(pose: NDArray[np.floating[Any]], rotation: str) -> NDArray[np.float32]:
    """(T, J*3) axis-angle -> (T, features)."""
    if rotation == "axis_angle":
        return np.asarray(pose, dtype=np.float32)
    return matrices_to_6d(to_matrices(pose))


def matrices_to_6d(matrices: NDArray[np.float64]) -> NDArray[np.float32]:
    """(..., J, 3, 3) -> (..., J*6)."""
    columns = np.swapaxes(matrices[..., :2], -1, -2)
    return columns.reshape(*matrices.shape[:-3], -1).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """Mirroring and turning of 6D features about the vertical axis."""

    mirror_joints: NDArray[np.int64] | None
    """(J,) where each joint's features come from in the mirrored pose."""
    mirror_signs: NDArray[np.float32] | None
    """(J, 6) factors of the mirrored features."""
    turned_joint: int | None
    """The joint that carries the heading; those above it must not rotate."""

    def apply(
        self, features: NDArray[np.float32], mirrored: NDArray[np.bool_], turn: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Vary windows (B, T, J*6): each mirrored or not, then turned by its angle in radians."""
        varied = features.reshape(*features.shape[:-1], -1, 6).copy()
        if self.mirror_joints is not None:
            varied[mirrored] = varied[mirrored][..., self.mirror_joints, :] * self.mirror_signs
        if self.turned_joint is not None:
            cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
            joint = varied[..., self.turned_joint, :]
            for column in (0, 3):
                x, z = joint[..., column].copy(), joint[..., column + 2].copy()
                joint[..., column] = cos * x + sin * z
                joint[..., column + 2] = cos * z - sin * x
        return varied.reshape(features.shape)


def variation(
    config: DatasetConfig, rotation: str, skeleton: Skeleton | None
) -> Variation | None:
    """Return the variation that a config asks for; None where it asks for none.

    Raises:
        ConfigError: where the data set has not what it takes.
    """
    if not (config.mirror or config.turn):
        return None
    if rotation != "6d" or skeleton is None:
        raise ConfigError("dataset.mirror and dataset.turn need rotation 6d and a skeleton")
    joints = signs = None
    if config.mirror:
        if skeleton.mirror is None:
            raise ConfigError("dataset.mirror: this skeleton's left and right are not symmetric")
        joints = np.array(skeleton.mirror.joints)
        above = skeleton.mirror.parent_signs(skeleton.parents)
        own = np.array(skeleton.mirror.signs)
        factors = np.concatenate([above * own[:, :1], above * own[:, 1:2]], axis=1)
        # Joint j's factors belong to what is put at its counterpart, so they are taken from there.
        signs = factors[joints].astype(np.float32)
    return Variation(
        mirror_joints=joints,
        mirror_signs=signs,
        turned_joint=skeleton.translation_joint if config.turn else None,
    )
