"""The body that a frame describes: 50 joints of 3 values, as ProgressiveTransformers orders them.

Joints 0 to 7 are the upper body, 8 to 28 the left hand, 29 to 49 the right hand (OpenPose's order
within each). Source: the README of github.com/BenSaunders27/ProgressiveTransformersSLP.
"""

from __future__ import annotations

FINGERS = ("thumb", "index", "middle", "ring", "little")
BODY = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist",
    "left shoulder", "left elbow", "left wrist",
)  # fmt: skip


def _hand(side: str) -> tuple[str, ...]:
    fingers = [f"{side} {finger} {joint}" for finger in FINGERS for joint in range(1, 5)]
    return (f"{side} palm", *fingers)


JOINTS = (*BODY, *_hand("left"), *_hand("right"))
COUNT = len(JOINTS)  # 50
VALUES = 3 * COUNT  # of a frame
LEFT_HAND = range(8, 29)
RIGHT_HAND = range(29, 50)
HANDS = range(8, 50)


def _hand_bones(palm: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (palm if joint == 0 else palm + 4 * finger + joint, palm + 4 * finger + joint + 1)
        for finger in range(len(FINGERS))
        for joint in range(4)
    )


BONES: tuple[tuple[int, int], ...] = (
    (1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (7, 8), (4, 29),
    *_hand_bones(8), *_hand_bones(29),
)  # fmt: skip
"""Pairs of joints that a bone joins; a wrist and its hand's palm are two views of one place."""
