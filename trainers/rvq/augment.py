"""Augmentation of 6D windows: mirrored, turned, blended limb by limb (numpy, no torch).

Blending moves each limb of a window towards the same limb of another, or away from it. The poses
are new, but each limb moves as limbs do. This keeps a small set of clips from being memorised.

Shapes: B windows, T frames, J joints, L limbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.batches import item_rng
from trainers.engine.errors import ConfigError
from trainers.motion.rotations import rotations_again
from trainers.motion.skeleton import to_matrices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trainers.motion.clips.clips import Clips
    from trainers.motion.skeleton import Skeleton
    from trainers.rvq.config import DatasetConfig

HEADINGS = 8  # over which the statistics of turned data are taken
STILL = 1e-4  # radians
UPRIGHT = 0.7  # of the steadiest axis: y may be a little less steady if few clips turn
BLEND = (-1.0, 1.0)  # shares of the other window: from as far away from it to all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The augmentation that a config asks for, prepared for a skeleton."""

    mirror: tuple[NDArray[np.int64], NDArray[np.float32]] | None
    """(J,) the joint that each joint's features come from in the mirrored pose, and (J, 6) their
    factors."""
    turned_joint: int | None  # the joint that carries the heading; those above it must not rotate
    blend_chance: float
    limbs: NDArray[np.int64]  # (J,) the limb of each joint

    def augment(
        self,
        features: NDArray[np.float32],
        seeds: NDArray[np.uint64],
        *,
        whole: NDArray[np.bool_],
        peers: Callable[[NDArray[np.float64]], NDArray[np.float32]] | None,
    ) -> NDArray[np.float32]:
        """Augment windows (B, T, J*6), each by its own seed.

        Only those that are `whole` (B,), not padded, are blended: with the windows (B, T, J*6)
        that `peers` gives for chances (B,) in [0, 1).
        """
        limbs = int(self.limbs.max()) + 1
        # Of a window: mirrored, turn, blended; with which other, is that mirrored, its shares.
        chance = np.array([item_rng(seed).random(5 + limbs) for seed in seeds])
        turn, blends = chance[:, 1] * 2 * np.pi, chance[:, 2] < self.blend_chance
        varied = self.reflect(features, chance[:, 0] < 0.5, turn)
        if peers is None or not blends.any():
            return varied
        others = self.reflect(peers(chance[:, 3]), chance[:, 4] < 0.5, turn)
        low, high = BLEND
        return self.blend(varied, others, low + (high - low) * chance[:, 5:], blends & whole)

    def reflect(
        self, features: NDArray[np.float32], mirrored: NDArray[np.bool_], turn: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Windows (B, T, J*6), each mirrored or not, then turned by radians, as is asked for."""
        varied: NDArray[np.float32] = features.reshape(*features.shape[:-1], -1, 6).copy()
        if self.mirror is not None:
            joints, factors = self.mirror
            varied[mirrored] = varied[mirrored][..., joints, :] * factors
        if self.turned_joint is not None:
            cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
            joint = varied[..., self.turned_joint, :]
            for column in (0, 3):
                x, z = joint[..., column].copy(), joint[..., column + 2].copy()
                joint[..., column] = cos * x + sin * z
                joint[..., column + 2] = cos * z - sin * x
        return varied.reshape(features.shape)

    def blend(
        self,
        features: NDArray[np.float32],
        others: NDArray[np.float32],
        share: NDArray[np.float64],
        blends: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Features + share * (others - features) by limb, made rotations again."""
        moved = (share * blends[:, None])[:, None, self.limbs, None].astype(np.float32)
        own = features.reshape(*features.shape[:-1], -1, 6)
        other = others.reshape(own.shape)
        blended = rotations_again(own + moved * (other - own)).reshape(features.shape)
        blended[~blends] = features[~blends]
        return blended

    def every(self, features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(T, J*6) mirrored or not, in headings all around: statistics are taken of all of them."""
        turns = HEADINGS if self.turned_joint is not None else 1
        return [
            self.reflect(features[None], np.array([mirrored]), np.array([2 * np.pi * i / turns]))[0]
            for mirrored in ((False, True) if self.mirror is not None else (False,))
            for i in range(turns)
        ]


def augmentation(
    config: DatasetConfig, rotation: str, skeleton: Skeleton | None
) -> Augmentation | None:
    """Return the augmentation that a config asks for; None if it asks for none.

    Raises:
        ConfigError: if the data set does not have what it takes.
    """
    if not (config.mirror or config.turn or config.blend):
        return None
    if rotation != "6d" or skeleton is None:
        raise ConfigError("dataset.mirror, turn and blend need rotation 6d and a skeleton")
    mirror = None
    if config.mirror:
        if skeleton.mirror is None:
            raise ConfigError("dataset.mirror: this skeleton's left and right are not symmetric")
        joints = np.array(skeleton.mirror.joints)
        above = skeleton.mirror.parent_signs(skeleton.parents)
        own = np.array(skeleton.mirror.signs)
        factors = np.concatenate([above * own[:, :1], above * own[:, 1:2]], axis=1)
        # Joint j's factors belong to what is put at its counterpart, so they are taken from there.
        mirror = joints, factors[joints].astype(np.float32)
    return Augmentation(
        mirror=mirror,
        turned_joint=skeleton.translation_joint if config.turn else None,
        blend_chance=config.blend,
        limbs=limbs_of(skeleton.parents),
    )


def check_turn(clips: Clips, skeleton: Skeleton) -> None:
    """Refuse clips that cannot be turned by a rotation of the translation joint about y.

    That takes joints above it that do not rotate, and y up: then y is what varies least as the
    body sees it, since people turn more than they topple.

    Raises:
        ConfigError: naming the clip, or the axis that is up instead.
    """
    joint = skeleton.translation_joint
    above = skeleton.ancestors(joint)
    total = np.zeros((3, 3))
    for name, pose in zip(clips.names, clips.poses, strict=True):
        vectors = np.asarray(pose).reshape(len(pose), -1, 3)
        if above and np.abs(vectors[:, above]).max() > STILL:
            raise ConfigError(
                f"dataset.turn: a joint above {skeleton.joints[joint]} rotates in {name}; "
                "leave turn out"
            )
        total += to_matrices(vectors[:, joint])[:, 0].sum(axis=0)
    # Row i of the mean rotation: the world's axis i as the body sees it on average.
    steady = np.linalg.norm(total / clips.lengths.sum(), axis=1)
    if steady[1] < UPRIGHT * steady.max():
        raise ConfigError(
            f"dataset.turn: {'xyz'[int(steady.argmax())]} seems to be up in {clips.source}, "
            "y is wanted; leave turn out"
        )


def limbs_of(parents: tuple[int, ...]) -> NDArray[np.int64]:
    """(J,) chains of joints: a new limb begins at every child of a joint that has several."""
    limbs = [0]
    for parent in parents[1:]:
        limbs.append(max(limbs) + 1 if parents.count(parent) > 1 else limbs[parent])
    return np.array(limbs)
