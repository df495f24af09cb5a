"""Motion made by formula, to train on with no download.

`python -m trainers.motion.clips.synthetic --out DIR` writes it as files.

Each gait gives every joint a rest rotation and a few harmonics of one rhythm. A clip takes a gait
at its own tempo, strength and phase, drifts between two mixtures of styles and turns slowly. So
clips differ everywhere and lie on few dimensions, which is what an autoencoder can learn.
Shapes: T frames, J joints, H harmonics, G gaits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import whole_folder
from trainers.motion.clips.clips import Clips
from trainers.motion.skeleton import save_skeleton, to_matrices
from trainers.motion.smplh import smplh_skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLIPS = {"train": 320, "val": 40}
FRAMES = (96, 192)
GAITS, STYLES, HARMONICS = 6, 3, 3
FPS = 30.0
HAND_FROM = 22  # joints of the hands come last and move less


def synthetic_clips(
    split: str, *, seed: int = 0, max_samples: int | None = None, pose_fps: float | None = None
) -> Clips:
    """Make a split: deterministic by (split, seed); both splits share the gaits, no clip."""
    skeleton = smplh_skeleton(pose_fps or FPS)
    if split not in CLIPS:
        raise TrainerError(f"the synthetic data has no split {split}; it has: train, val")
    gaits = _Gaits(np.random.default_rng((seed, 0)), len(skeleton))
    rng = np.random.default_rng((seed, 1 + list(CLIPS).index(split)))
    poses = [gaits.clip(i % GAITS, rng) for i in range(CLIPS[split])][:max_samples]
    return Clips(
        data="synthetic",
        split=split,
        names=tuple(f"{i:04d}_gait{i % GAITS}" for i in range(len(poses))),
        lengths=np.array([len(pose) for pose in poses], dtype=np.int64),
        poses=poses,
        skeleton=skeleton,
        fps=skeleton.fps,
    )


class _Gaits:
    def __init__(self, rng: np.random.Generator, joints: int) -> None:
        reach = np.where(np.arange(joints) < HAND_FROM, 1.0, 0.4)[:, None]
        falling = 0.2 / np.arange(1, HARMONICS + 1)[:, None, None]
        self.rest = rng.normal(0, 0.12, (GAITS, joints, 3)) * reach
        self.height = rng.normal(0, 1, (GAITS, HARMONICS, joints, 3)) * falling * reach
        self.phase = rng.uniform(0, 2 * np.pi, (GAITS, HARMONICS, joints, 3))
        self.style = rng.normal(0, 0.08, (STYLES, joints, 3)) * reach
        self.tempo = rng.uniform(0.5, 1.5, GAITS)  # cycles a second

    def clip(self, gait: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """(T, J*3) axis-angle."""
        frames = int(rng.integers(*FRAMES))
        seconds = np.arange(frames) / FPS
        cycle = rng.uniform() + seconds * self.tempo[gait] * rng.uniform(0.8, 1.25)
        angle = 2 * np.pi * cycle[:, None] * np.arange(1, HARMONICS + 1)
        # a sin(x + p) = a cos(p) sin(x) + a sin(p) cos(x): two products instead of T*H*J*3 sines
        height, phase = self.height[gait] * rng.uniform(0.6, 1.4), self.phase[gait]
        swing = np.tensordot(np.sin(angle), height * np.cos(phase), 1)
        swing += np.tensordot(np.cos(angle), height * np.sin(phase), 1)
        way = np.linspace(0, 1, frames)[:, None]
        mixture = (1 - way) * rng.normal(size=STYLES) + way * rng.normal(size=STYLES)
        sway = np.tensordot(mixture, self.style, 1)
        pose: NDArray[np.float64] = self.rest[gait] + swing + sway
        heading = rng.uniform(-0.3, 0.3) + rng.normal(0, 0.1) * seconds
        pose[:, 0] = 0.2 * pose[:, 0] + heading[:, None] * np.array([0.0, 1.0, 0.0])
        return pose.reshape(frames, -1).astype(np.float32)


def write_clips(out: Path, seed: int = 0) -> dict[str, int]:
    """Write both splits in the layout of a data set; all or nothing.

    Raises:
        TrainerError: if `out` holds something or cannot be written.
    """
    skeleton, counts = smplh_skeleton(), {}
    with whole_folder(out) as building:
        for split in CLIPS:
            clips = synthetic_clips(split, seed=seed)
            counts[split] = len(clips.names)
            for name, pose in zip(clips.names, clips.poses, strict=True):
                folder = building / split / name
                folder.mkdir(parents=True)
                walked = np.zeros((len(pose), 3), dtype=np.float32)
                walked[:, 2] = np.arange(len(pose)) * (100.0 / FPS)  # a metre a second
                np.save(folder / "pose.npy", pose)
                np.save(folder / "translation.npy", walked)
                placed = skeleton.positions(to_matrices(pose), walked)
                np.save(folder / "keypoints.npy", placed.astype(np.float32))
        save_skeleton(skeleton, building)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prog, about = "python -m trainers.motion.clips.synthetic", "Write the built-in motion data set."
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    counts = write_clips(given.out, given.seed)
    written = ", ".join(f"{count} clips in {split}/" for split, count in counts.items())
    sys.stdout.write(f"{given.out}: {written}\n")
    return 0


if __name__ == "__main__":
    run_main(main)
