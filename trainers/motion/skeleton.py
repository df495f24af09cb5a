"""Skeletons: joints, their tree and offsets, and where rotations put them (numpy, no torch).

Shapes: T frames, J joints.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from trainers.engine.errors import TrainerError, format_invalid
from trainers.engine.files import load_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

FILE_NAME = "skeleton.json"
FPS = 30.0  # of motion that does not say
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
WORLD = (-1.0, 1.0, 1.0)  # signs of the reflection of the world, x -> -x
# How a name of the left becomes its counterpart's: patterns and their replacements.
SIDES = (
    ("Left", "Right"), ("left", "right"), ("_L$", "_R"), ("_l$", "_r"), (r"\.L$", ".R"),
    (r"\.l$", ".r"), ("^L", "R"), ("^l", "r"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """How a pose is reflected: R'[joints[j]] = diag(signs[parent of j]) @ R[j] @ diag(signs[j]).

    Below the root the signs tie each joint's axes to those of its counterpart; above it stands the
    reflection of the world, x -> -x.
    """

    joints: tuple[int, ...]  # the counterpart of each joint: left for right, itself in the middle
    signs: tuple[Triple, ...]

    def parent_signs(self, parents: tuple[int, ...]) -> NDArray[np.float64]:
        """(J, 3) the signs of each joint's parent."""
        return np.array([WORLD if p < 0 else self.signs[p] for p in parents])


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A joint tree with fixed bones; lengths in `unit`, y up."""

    joints: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the root; parents come before their children
    offsets: tuple[Triple, ...]  # each joint's place in its parent's frame
    fps: float = FPS
    unit: str = "cm"
    translation_joint: int = 0
    """The joint that `translation.npy` places; joints above it stay where their offsets say."""
    mirror: Mirror | None = None
    approximate: bool = False  # whether the offsets are a stand-in for a body that was not given
    moving: tuple[int, ...] = field(init=False, default=(), compare=False)
    """The joints that the translation joint carries, itself first."""

    def __post_init__(self) -> None:
        """Refuse joints that are not a tree, and find those that the translation joint carries.

        Raises:
            ValueError: if parts do not belong together.
        """
        count, mirror = len(self), self.mirror
        lengths = [len(self.parents), len(self.offsets)]
        lengths += [len(mirror.joints), len(mirror.signs)] if mirror else []
        if not count or set(lengths) != {count}:
            raise ValueError(f"{count} joints, lists of {lengths}")
        if mirror and sorted(mirror.joints) != list(range(count)):
            raise ValueError("mirror.joints is not a permutation")
        if any(not -1 <= parent < joint for joint, parent in enumerate(self.parents)):
            raise ValueError("parents must come before their children")
        if not 0 <= self.translation_joint < count:
            raise ValueError("translation_joint is not a joint")
        if not 0 < self.fps < math.inf:
            raise ValueError(f"{self.fps:g} is not a frame rate")
        root = self.translation_joint
        carried = [joint for joint in range(count) if root in self.ancestors(joint)]
        object.__setattr__(self, "moving", (root, *carried))

    def __len__(self) -> int:
        """Return the number of joints."""
        return len(self.joints)

    def ancestors(self, joint: int) -> list[int]:
        """Return the joints above one, nearest first."""
        above: list[int] = []
        while (joint := self.parents[joint]) >= 0:
            above.append(joint)
        return above

    def positions(
        self, matrices: NDArray[np.float64], translation: ArrayLike = 0.0
    ) -> NDArray[np.float64]:
        """Joint positions (T, J, 3) from local rotations (T, J, 3, 3).

        The translation joint stands at `translation` (T, 3), or at the origin.
        """
        placed = joint_positions(self.parents, np.array([self.offsets]), matrices)
        shift = np.asarray(translation) - placed[:, self.translation_joint]
        placed[:, list(self.moving)] += shift[:, None]
        return placed

    def to_dict(self) -> dict[str, Any]:
        """Return what skeleton.json holds."""
        parts = asdict(self)
        del parts["approximate"], parts["moving"]
        plain: dict[str, Any] = json.loads(json.dumps(parts))  # lists instead of tuples
        return plain


_SKELETON = TypeAdapter(Skeleton)


def joint_positions(
    parents: Sequence[int], local: NDArray[np.float64], matrices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """World positions (T, J, 3) from local positions and rotations (T, J, 3, 3).

    Forward kinematics: p[j] = p[parent] + G[parent] @ local[j],  G[j] = G[parent] @ R[j].
    Local positions are (T, J, 3), or (1, J, 3) if they are the same in all frames.
    """
    placed = np.empty(matrices.shape[:-1])
    turned = np.empty_like(matrices)
    for joint, parent in enumerate(parents):
        if parent < 0:
            placed[:, joint], turned[:, joint] = local[:, joint], matrices[:, joint]
            continue
        moved = (turned[:, parent] @ local[:, joint, :, None])[..., 0]
        placed[:, joint] = placed[:, parent] + moved
        turned[:, joint] = turned[:, parent] @ matrices[:, joint]
    return placed


def load_skeleton(root: Path) -> Skeleton | None:
    """Read `<root>/skeleton.json`; None if there is none.

    Raises:
        TrainerError: if the file is there and is not a skeleton.
    """
    path = root / FILE_NAME
    if not path.is_file():
        return None
    hint = "import the motion files again, or remove the file to train without a skeleton"
    try:
        return _SKELETON.validate_python(load_json(path, hint))
    except ValidationError as error:
        reason = format_invalid(error)
        raise TrainerError(f"{path} does not describe a skeleton ({reason})", hint) from None


def save_skeleton(skeleton: Skeleton, root: Path) -> None:
    """Write `<root>/skeleton.json`."""
    text = json.dumps(skeleton.to_dict(), indent=1)
    (root / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def find_mirror(skeleton: Skeleton, mean_rotations: NDArray[np.float64]) -> Mirror | None:
    """Work out the reflection of a skeleton whose joint names tell left from right.

    Each joint's signs must carry its children's offsets onto those of the counterpart; where that
    leaves a choice (a bone along one axis), the reflected mean rotation (J, 3, 3) that comes
    nearest to the counterpart's own decides. None if names or bones are not symmetric.
    """
    pairs = _counterparts(skeleton.joints)
    if pairs is None:
        return None
    offsets, parents = np.array(skeleton.offsets), skeleton.parents
    tolerance = 0.02 * np.linalg.norm(offsets, axis=1).max(initial=0.0)
    candidates = ((-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0), (-1.0, -1.0, -1.0))
    signs: list[Triple] = []
    for joint, parent in enumerate(parents):
        if parent >= 0 and parents[pairs[joint]] != pairs[parent]:
            return None
        children = np.flatnonzero(np.equal(parents, joint))
        children = children[children != skeleton.translation_joint]
        there = offsets[[pairs[child] for child in children]]
        gaps = {s: np.abs(s * offsets[children] - there).max(initial=0.0) for s in candidates}
        fitting = [s for s, gap in gaps.items() if gap <= tolerance]
        if not fitting:
            return None
        above = signs[parent] if parent >= 0 else WORLD
        reflected = np.array(above)[:, None] * mean_rotations[joint]
        sync = [float(np.sum(mean_rotations[pairs[joint]] * (reflected * s))) for s in fitting]
        signs.append(fitting[int(np.argmax(sync))])
    return Mirror(joints=tuple(pairs), signs=tuple(signs))


def _counterparts(joints: tuple[str, ...]) -> list[int] | None:
    """Index of each joint's other side by name (Hand_L, LeftHand, l_hand); None if none is."""
    index = {name: i for i, name in enumerate(joints)}
    found = list(range(len(joints)))
    for name, joint in index.items():
        for left, right in SIDES:
            if (other := index.get(re.sub(left, right, name), joint)) != joint:
                found[joint], found[other] = other, joint
    return found if found != list(range(len(joints))) else None


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
