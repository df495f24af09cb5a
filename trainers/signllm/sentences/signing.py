"""Made-up signs as motion: hand shape, place, movement and orientation -> 50 joints (no torch).

Units: 1 is the width of the shoulders, the neck is the origin; x to the right of the picture (the
signer's left), y down, z away from the viewer. Motion eases in and out of every sign.
Shapes: T frames, P = 12 parameters of a hand: wrist 3, rotation vector 3, curls of five fingers,
and how far they are spread; first the right hand, then the left one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from trainers.signllm.skeleton import COUNT, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SHAPES = np.array([  # curls from thumb to little finger, 0 straight to 1 bent; spread
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.2), (0.6, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.7, 0.0, 1.0, 1.0, 1.0, 0.0), (0.7, 0.0, 0.0, 1.0, 1.0, 1.0),
    (0.0, 0.0, 0.0, 1.0, 1.0, 0.6), (0.6, 0.0, 1.0, 1.0, 0.0, 0.5),
    (0.0, 1.0, 1.0, 1.0, 1.0, 0.0), (0.7, 1.0, 1.0, 1.0, 0.0, 0.0),
    (0.3, 0.5, 0.5, 0.5, 0.5, 1.0), (0.5, 0.6, 0.0, 0.0, 0.0, 0.8),
])  # fmt: skip
OPEN, SHAPE = SHAPES[0], slice(6, 12)
PLACES = np.array([  # of the right wrist: forehead, cheek, chin, heart, belly, front, beside, high
    (-0.45, -0.40, -0.35), (-0.50, -0.05, -0.30), (-0.20, 0.10, -0.35), (0.15, 0.40, -0.30),
    (-0.15, 0.85, -0.30), (-0.35, 0.45, -0.60), (-0.85, 0.35, -0.25), (-0.80, -0.15, -0.30),
    (0.10, 0.75, -0.45),
])  # fmt: skip
FACINGS = np.array([  # rotation vectors, from fingers up and the palm to the viewer
    (0.0, 0.0, 0.0), (0.0, 1.4, 0.0), (0.0, 0.0, 1.4), (1.4, 0.0, 0.0),
    (0.0, 2.4, 0.0), (1.2, 0.0, 1.2), (0.4, -0.8, 0.6),
])  # fmt: skip
MOVEMENTS = ("down", "out", "forward", "circle", "shake", "tap", "twist", "open")
REST = np.array([-0.45, 1.30, -0.20, 1.0, 0.0, 1.4, *SHAPES[8]])

EDGE_S, TRANSITION_S = 0.12, 0.24  # of rest at either end; between two signs
STROKE_S = (0.32, 0.56)
UPPER_ARM, FOREARM = 0.80, 0.72
SHOULDER = np.array([-0.5, 0.06, 0.0])
NOSE = np.array([0.0, -0.55, -0.2])
ANGLES = np.array([0.9, 0.22, 0.0, -0.2, -0.4])  # radians of the fingers within the palm
SPREAD = np.array([0.2, 0.16, 0.0, -0.14, -0.3])
BONES = np.array([
    (0.11, 0.10, 0.08, 0.07), (0.24, 0.11, 0.08, 0.06), (0.25, 0.12, 0.09, 0.06),
    (0.23, 0.11, 0.08, 0.06), (0.21, 0.09, 0.06, 0.05),
])  # fmt: skip
SUM = np.tri(4)  # adds up a finger's bones from its root on
BEND = np.array([0.8, 1.5, 1.5, 1.5, 1.5])  # radians of a joint at a curl of 1
POLE = np.array([-0.6, 1.0, 0.3])  # where an elbow hangs
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign."""

    start: Array  # (P,) the right hand's parameters where the stroke begins
    movement: str
    two_handed: bool  # the left hand mirrors the right one
    seconds: float  # of the stroke


def make_signs(count: int, seed: tuple[int, ...]) -> list[Sign]:
    """Invent signs of which no two share both hand shape and place."""
    rng = np.random.default_rng(seed)
    shapes, places = rng.permutation(len(SHAPES)), rng.permutation(len(PLACES))
    movements, facings = rng.permutation(len(MOVEMENTS)), rng.permutation(len(FACINGS))
    signs = []
    for number in range(count):
        shape = SHAPES[shapes[number % len(SHAPES)]]
        place = PLACES[places[number % len(PLACES)]]
        facing = FACINGS[facings[(3 * number) % len(FACINGS)]]
        movement = MOVEMENTS[movements[(number + number // len(MOVEMENTS)) % len(MOVEMENTS)]]
        start = np.concatenate([place, facing, shape])
        signs.append(Sign(start, movement, bool(rng.random() < 0.35), rng.uniform(*STROKE_S)))
    return signs


def seconds(signs: Sequence[Sign]) -> float:
    """Return how long signs in sequence take."""
    strokes = sum(sign.seconds for sign in signs)
    return 2 * EDGE_S + (len(signs) + 1) * TRANSITION_S + strokes


def perform(signs: Sequence[Sign], times: Array, rng: np.random.Generator) -> Array:
    """Sign in sequence: (T, 150) at the given times (T,) in seconds; ``rng`` varies it a little."""
    hands = _sequence(signs, times)
    hands[..., :3] += rng.normal(0, 0.01, 3)
    sway = 0.02 * np.sin(2 * np.pi * (times * rng.uniform(0.3, 0.6) + rng.random()))
    poses = np.zeros((len(times), COUNT, 3))
    poses[:, 0] = NOSE + sway[:, None] * (1, 0.5, 0)
    arms, fingers = _arm(hands[..., :3]), _hand(hands)
    poses[:, 2:5], poses[:, RIGHT_HAND.start : RIGHT_HAND.stop] = arms[0], fingers[0]
    poses[:, 5:8] = MIRROR * arms[1]
    poses[:, LEFT_HAND.start : LEFT_HAND.stop] = MIRROR * fingers[1]
    return poses.reshape(len(times), -1)


def _sequence(signs: Sequence[Sign], times: Array) -> Array:
    """(2, T, P) parameters of the right hand, and of the left one as if seen in a mirror."""
    found = np.tile(REST, (2, len(times), 1))
    before = np.stack([REST, REST])
    clock = EDGE_S
    for sign in signs:
        hands = slice(None) if sign.two_handed else slice(1)  # the other one rests
        after = np.stack([sign.start, sign.start if sign.two_handed else REST])
        _move(found, before, after, times, clock)
        clock += TRANSITION_S
        inside = _inside(times, clock, sign.seconds)
        stroke = _stroke(sign, np.append((times[inside] - clock) / sign.seconds, 1.0))
        found[hands, inside] = stroke[:-1]
        before = after.copy()
        before[hands] = stroke[-1]
        clock += sign.seconds
    _move(found, before, np.stack([REST, REST]), times, clock)
    return found


def _move(found: Array, before: Array, after: Array, times: Array, clock: float) -> None:
    """Lead both hands (2, P) from one place to another."""
    inside = _inside(times, clock, TRANSITION_S)
    share = _eased((times[inside] - clock) / TRANSITION_S)
    found[:, inside] = before[:, None] + share[:, None] * (after - before)[:, None]


def _inside(times: Array, begin: float, duration: float) -> slice:
    first, last = np.searchsorted(times, (begin, begin + duration))
    return slice(int(first), int(last))


def _eased(share: Array) -> Array:
    """From 0 to 1 without velocity and acceleration at either end."""
    eased: Array = share * share * share * (10 + share * (6 * share - 15))
    return eased


def _stroke(sign: Sign, share: Array) -> Array:
    """(T, P) of a sign's movement at shares of its time."""
    found = np.tile(sign.start, (len(share), 1))
    eased, there = _eased(share), np.sin(np.pi * share) ** 2
    if sign.movement == "down":
        found[:, 1] += 0.4 * eased
    elif sign.movement == "out":
        found[:, 0] -= 0.4 * eased
    elif sign.movement == "forward":
        found[:, 1] += 0.15 * eased
        found[:, 2] -= 0.3 * eased
    elif sign.movement == "circle":
        found[:, 0] -= 0.15 * np.sin(2 * np.pi * eased)
        found[:, 1] += 0.15 * (1 - np.cos(2 * np.pi * eased))
    elif sign.movement == "shake":
        found[:, 0] += 0.18 * there * np.sin(4 * np.pi * share)
    elif sign.movement == "tap":
        found[:, 1:3] += np.sin(2 * np.pi * share)[:, None] ** 2 * (0.15, 0.15)
    elif sign.movement == "twist":
        found[:, 4] += 1.2 * there * np.sin(2 * np.pi * share)
    else:
        other = SHAPES[1] if (sign.start[SHAPE] == OPEN).all() else OPEN
        found[:, SHAPE] += eased[:, None] * (other - sign.start[SHAPE])
    return found


def _arm(wrist: Array) -> Array:
    """(2, T, 3) -> (2, T, 3 joints, 3): shoulder, elbow and wrist; the elbow hangs outwards."""
    reach = wrist - SHOULDER
    distance = np.sqrt((reach**2).sum(-1, keepdims=True))
    along = reach / distance
    near = (UPPER_ARM**2 - FOREARM**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(UPPER_ARM**2 - near**2, 1e-4))
    out = POLE - (along @ POLE)[..., None] * along
    out /= np.sqrt((out**2).sum(-1, keepdims=True))
    elbow = SHOULDER + near * along + height * out
    return np.stack([np.broadcast_to(SHOULDER, wrist.shape), elbow, wrist], axis=-2)


def _hand(hands: Array) -> Array:
    """(2, T, P) -> (2, T, 21, 3): the palm, then each finger from its root to its tip."""
    wrist, shape = hands[..., :3], hands[..., SHAPE]
    axes = Rotation.from_rotvec(hands[..., 3:6].reshape(-1, 3)).as_matrix()
    axes = axes.reshape(*wrist.shape, 3)
    thumb, fingers, palm = axes[..., 0], -axes[..., 1], -axes[..., 2]
    thumb, fingers, palm = (axis[..., None, :] for axis in (thumb, fingers, palm))
    angle = (ANGLES + shape[..., 5:] * SPREAD)[..., None]  # (2, T, 5, 1) within the palm
    straight = np.cos(angle) * fingers + np.sin(angle) * thumb
    bent = (shape[..., :5] * BEND)[..., None, None] * np.arange(4)[:, None]
    bones = np.cos(bent) * straight[..., None, :] + np.sin(bent) * palm[..., None, :]
    joints = (SUM @ (bones * BONES[..., None])).reshape(*wrist.shape[:2], 20, 3)
    return np.concatenate([wrist[..., None, :], wrist[..., None, :] + joints], axis=-2)
