"""Poses as the network sees them (numpy, no torch).

6D features are the first two columns of each joint's matrix, first column first; see kinematics.py
for the same on tensors. Shapes: ... any leading axes, J joints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.motion.skeleton import to_matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.motion.skeleton import Skeleton


def values_per_joint(rotation: str) -> int:
    """Features that one joint's rotation takes."""
    return {"axis_angle": 3, "6d": 6}[rotation]


def choose_rotation(wanted: str, skeleton: Skeleton | None) -> str:
    """Resolve "auto": 6d if there is a real skeleton, since only that is scored by its joints."""
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


def rotations_again(sixd: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 6) of any numbers -> 6D of a rotation, by Gram-Schmidt."""
    first, second = sixd[..., :3], sixd[..., 3:]
    first = first / np.linalg.norm(first, axis=-1, keepdims=True).clip(1e-8)
    second = second - (first * second).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True).clip(1e-8)
    return np.concatenate([first, second], axis=-1)
