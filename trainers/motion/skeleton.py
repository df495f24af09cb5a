"""Skeletons: joints, their tree and offsets, and where rotations put them (numpy, no torch).

Shapes: T frames, J joints.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import MALFORMED, TrainerError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

FILE_NAME = "skeleton.json"
FPS = 30.0  # of motion that does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """How a pose is reflected: R'[joints[j]] = diag(signs[parent of j]) @ R[j] @ diag(signs[j]).

    Below the root the signs tie each joint's axes to those of its counterpart; above it stands the
    reflection of the world, x -> -x.
    """

    joints: tuple[int, ...]
    """The counterpart of each joint: left for right, itself in the middle."""
    signs: tuple[tuple[float, float, float], ...]

    def parent_signs(self, parents: tuple[int, ...]) -> NDArray[np.float64]:
        """(J, 3) the signs of each joint's parent."""
        world = (-1.0, 1.0, 1.0)
        return np.array([world if p < 0 else self.signs[p] for p in parents])


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A joint tree with fixed bones; lengths in `unit`, y up."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    """-1 for the root; parents come before their children."""
    offsets: tuple[tuple[float, float, float], ...]
    """Each joint's place in its parent's frame."""
    fps: float = FPS
    unit: str = "cm"
    translation_joint: int = 0
    """The joint that `translation.npy` places; joints above it stay where their offsets say."""
    mirror: Mirror | None = None
    approximate: bool = False
    """Whether the offsets are a stand-in for a body that was not given."""
    moving: tuple[int, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Work out the joints that the translation joint carries, itself first."""
        carried = [self.translation_joint]
        carried += [j for j, parent in enumerate(self.parents) if self._is_below(j, parent)]
        object.__setattr__(self, "moving", tuple(carried))

    def _is_below(self, joint: int, parent: int) -> bool:
        while parent >= 0 and joint != self.translation_joint:
            if parent == self.translation_joint:
                return True
            parent = self.parents[parent]
        return False

    def __len__(self) -> int:
        """Return the number of joints."""
        return len(self.joints)

    def positions(
        self, matrices: NDArray[np.float64], translation: ArrayLike = 0.0
    ) -> NDArray[np.float64]:
        """Joint positions (T, J, 3) from local rotations (T, J, 3, 3): forward kinematics.

        p[j] = p[parent] + G[parent] @ offset[j],  G[j] = G[parent] @ R[j];
        the translation joint stands at `translation` (T, 3), or at the origin.
        """
        turned = np.empty_like(matrices)
        placed = np.zeros(matrices.shape[:-1])
        for joint, parent in enumerate(self.parents):
            above = turned[:, parent] if parent >= 0 else np.eye(3)
            turned[:, joint] = above @ matrices[:, joint]
            if joint == self.translation_joint:
                placed[:, joint] = translation
            else:
                base = placed[:, parent] if parent >= 0 else 0.0
                placed[:, joint] = base + above @ np.array(self.offsets[joint])
        return placed

    def to_dict(self) -> dict[str, Any]:
        """Return what skeleton.json holds."""
        return {
            "joints": list(self.joints),
            "parents": list(self.parents),
            "offsets": [list(offset) for offset in self.offsets],
            "fps": self.fps,
            "unit": self.unit,
            "translation_joint": self.translation_joint,
            "mirror": self.mirror
            and {"joints": list(self.mirror.joints), "signs": list(map(list, self.mirror.signs))},
        }


def load_skeleton(root: Path) -> Skeleton | None:
    """Read `<root>/skeleton.json`; None if there is none.

    Raises:
        TrainerError: if the file is there and is not a skeleton.
    """
    path = root / FILE_NAME
    if not path.is_file():
        return None
    try:
        return skeleton_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, *MALFORMED) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TrainerError(
            f"{path} does not describe a skeleton ({reason})",
            hint="import the motion files again, or remove the file to train without a skeleton",
        ) from None


def save_skeleton(skeleton: Skeleton, root: Path) -> None:
    """Write `<root>/skeleton.json`."""
    text = json.dumps(skeleton.to_dict(), indent=1)
    (root / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def skeleton_of(data: dict[str, Any]) -> Skeleton:
    """Make a skeleton of what `to_dict` gives.

    Raises:
        One of MALFORMED: if it is not one.
    """
    joints = tuple(str(name) for name in data["joints"])
    parents = tuple(int(parent) for parent in data["parents"])
    offsets = _triples(data["offsets"])
    mirror = data.get("mirror")
    skeleton = Skeleton(
        joints=joints,
        parents=parents,
        offsets=offsets,
        fps=float(data["fps"]),
        unit=str(data["unit"]),
        translation_joint=int(data["translation_joint"]),
        mirror=mirror
        and Mirror(
            joints=tuple(int(j) for j in mirror["joints"]),
            signs=_triples(mirror["signs"]),
        ),
    )
    count = len(joints)
    lengths = [len(parents), len(offsets)]
    if skeleton.mirror:
        lengths += [len(skeleton.mirror.joints), len(skeleton.mirror.signs)]
        if sorted(skeleton.mirror.joints) != list(range(count)):
            raise ValueError("mirror.joints is not a permutation")
    if not joints or set(lengths) != {count}:
        raise ValueError(f"{count} joints, lists of {lengths}")
    if any(not -1 <= parent < j for j, parent in enumerate(parents)):
        raise ValueError("parents must come before their children")
    if not 0 <= skeleton.translation_joint < count:
        raise ValueError("translation_joint is not a joint")
    if not 0 < skeleton.fps < math.inf:
        raise ValueError(f"{skeleton.fps:g} is not a frame rate")
    return skeleton


def _triples(rows: list[list[float]]) -> tuple[tuple[float, float, float], ...]:
    if not all(math.isfinite(value) for row in rows for value in row):
        raise ValueError("offsets and signs must be finite")
    return tuple((float(x), float(y), float(z)) for x, y, z in rows)


def find_mirror(skeleton: Skeleton, mean_rotations: NDArray[np.float64]) -> Mirror | None:
    """Work out the reflection of a skeleton whose joint names tell left from right.

    Each joint's signs must carry its children's offsets onto those of the counterpart; where that
    leaves a choice (a bone along one axis), the reflected mean rotation (J, 3, 3) that comes
    nearest to the counterpart's own decides. None if names or bones are not symmetric.
    """
    pairs = _counterparts(skeleton.joints)
    if pairs is None:
        return None
    offsets = np.array(skeleton.offsets)
    tolerance = 0.02 * np.linalg.norm(offsets, axis=1).max(initial=0.0)
    candidates = np.array([(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)], dtype=float)
    signs: list[tuple[float, float, float]] = []
    for joint, parent in enumerate(skeleton.parents):
        above = np.array(signs[parent]) if parent >= 0 else candidates[0]
        children = [
            c
            for c, p in enumerate(skeleton.parents)
            if p == joint and c != skeleton.translation_joint
        ]
        fitting = [
            s
            for s in candidates
            if all(np.abs(s * offsets[c] - offsets[pairs[c]]).max() <= tolerance for c in children)
        ]
        if not fitting or (parent >= 0 and skeleton.parents[pairs[joint]] != pairs[parent]):
            return None
        there = mean_rotations[pairs[joint]]
        sync = [
            float(np.sum(there * (above[:, None] * mean_rotations[joint] * s))) for s in fitting
        ]
        best = fitting[int(np.argmax(sync))]
        signs.append((float(best[0]), float(best[1]), float(best[2])))
    return Mirror(joints=tuple(pairs), signs=tuple(signs))


def _counterparts(joints: tuple[str, ...]) -> list[int] | None:
    """Index of each joint's other side by name (Hand_L, LeftHand, l_hand); None if none is."""
    index = {name: i for i, name in enumerate(joints)}
    found = list(range(len(joints)))
    for name, i in index.items():
        for left, right in (("Left", "Right"), ("left", "right")):
            _pair(found, index, i, name.replace(left, right))
        for left, right in (("_L", "_R"), ("_l", "_r"), (".L", ".R"), (".l", ".r")):
            if name.endswith(left):
                _pair(found, index, i, name[: -len(left)] + right)
        for left, right in (("L", "R"), ("l", "r")):
            if name.startswith(left):
                _pair(found, index, i, right + name[1:])
    return found if found != list(range(len(joints))) else None


def _pair(found: list[int], index: dict[str, int], joint: int, other: str) -> None:
    if (there := index.get(other, joint)) != joint:
        found[joint], found[there] = there, joint


def to_matrices(axis_angle: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(..., J*3) axis-angle in radians -> (..., J, 3, 3) rotation matrices."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - it takes half a second

    vectors = np.asarray(axis_angle, dtype=np.float64).reshape(*axis_angle.shape[:-1], -1, 3)
    matrices: NDArray[np.float64] = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return matrices.reshape(*vectors.shape, 3)


def to_axis_angle(matrices: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(..., J, 3, 3) rotation matrices -> (..., J*3) axis-angle, angles in [0, pi]."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - as above

    rotations = Rotation.from_matrix(np.asarray(matrices, dtype=np.float64).reshape(-1, 3, 3))
    vectors: NDArray[np.float64] = rotations.as_rotvec()
    return vectors.reshape(*matrices.shape[:-3], -1)
