"""The joints of the SMPL-H body: order and tree are the model's, the bones a stand-in.

Poses of 156 values come without a body. Round figures of an adult make joint positions out of them
that errors can be told by in centimetres; they are not measured from a person.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainers.motion.skeleton import FPS, Skeleton, find_mirror

# name, parent, offset in cm: x to the body's left, y up, z forward
_BODY = (
    ("pelvis", "", (0, 0, 0)),
    ("left_hip", "pelvis", (7, -8, 0)),
    ("right_hip", "pelvis", (-7, -8, 0)),
    ("spine1", "pelvis", (0, 11, -2)),
    ("left_knee", "left_hip", (3, -38, 0)),
    ("right_knee", "right_hip", (-3, -38, 0)),
    ("spine2", "spine1", (0, 13, 1)),
    ("left_ankle", "left_knee", (-1, -41, -3)),
    ("right_ankle", "right_knee", (1, -41, -3)),
    ("spine3", "spine2", (0, 6, 2)),
    ("left_foot", "left_ankle", (3, -6, 12)),
    ("right_foot", "right_ankle", (-3, -6, 12)),
    ("neck", "spine3", (0, 21, -4)),
    ("left_collar", "spine3", (7, 12, -2)),
    ("right_collar", "spine3", (-7, 12, -2)),
    ("head", "neck", (0, 9, 5)),
    ("left_shoulder", "left_collar", (11, 4, -1)),
    ("right_shoulder", "right_collar", (-11, 4, -1)),
    ("left_elbow", "left_shoulder", (26, -1, -2)),
    ("right_elbow", "right_shoulder", (-26, -1, -2)),
    ("left_wrist", "left_elbow", (25, 1, 0)),
    ("right_wrist", "right_elbow", (-25, 1, 0)),
)
# finger, first joint as seen from the left wrist, length of the next two bones along x
_FINGERS = (
    ("index", (10, 0, 2), 3),
    ("middle", (11, 0, 0), 3),
    ("pinky", (8, -1, -4), 2),
    ("ring", (9, 0, -2), 3),
    ("thumb", (4, -2, 3), 3),
)


def _joints() -> list[tuple[str, str, tuple[float, float, float]]]:
    joints = [(name, above, (float(x), float(y), float(z))) for name, above, (x, y, z) in _BODY]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for finger, (x, y, z), bone in _FINGERS:
            above = f"{side}_wrist"
            for number in (1, 2, 3):
                name = f"{side}_{finger}{number}"
                offset = (x, y, z) if number == 1 else (bone, 0, 0)
                joints.append((name, above, (sign * offset[0], float(offset[1]), float(offset[2]))))
                above = name
    return joints


JOINTS = tuple(name for name, _, _ in _joints())


def smplh_skeleton(fps: float = FPS) -> Skeleton:
    """52 joints: the pelvis, 21 of the body, 15 of each hand; clips have ``fps``."""
    index = {name: i for i, name in enumerate(JOINTS)}
    skeleton = Skeleton(
        joints=JOINTS,
        parents=tuple(index.get(above, -1) for _, above, _ in _joints()),
        offsets=tuple(offset for _, _, offset in _joints()),
        fps=fps,
        approximate=True,
    )
    at_rest = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    return replace(skeleton, mirror=find_mirror(skeleton, at_rest))
