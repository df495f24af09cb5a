"""Import a folder of BVH clips: `python -m trainers.motion.importers.bvh SRC --out OUT`.

SRC holds train/ and val/ (or dev/) with *.bvh, or a flat folder and --val-share.
OUT gets `<split>/<clip>/{pose,keypoints,translation}.npy` and skeleton.json:
pose (T, J*3) axis-angle in radians, keypoints (T, J, 3) by forward kinematics over every channel of
the file, translation (T, 3) the place of the joint that carries the motion; lengths in centimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, run_main
from trainers.motion.bvh_file import BvhClip, BvhError, read_bvh
from trainers.motion.skeleton import (
    Skeleton,
    find_mirror,
    joint_positions,
    save_skeleton,
    to_axis_angle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPLITS = ("train", "val", "dev")
CENTIMETRES = {"mm": 0.1, "cm": 1.0, "m": 100.0, "inch": 2.54}
MOVES = 1e-3  # a local position that varies by more than this (file units) is motion


@dataclass(slots=True, kw_only=True)
class Summary(importing.Summary):
    """What an import did."""

    joints: int = 0
    fps: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    bone_error_cm: float = 0.0
    """Largest distance between keypoints and the fixed skeleton posed with the same rotations."""
    has_mirror: bool = False


def find_clips(source: Path, val_share: float | None = None) -> dict[str, list[Path]]:
    """List the clips of each split, sorted by path.

    A flat folder is split by name.
    """
    if not source.is_dir():
        raise TrainerError(f"{source} is not a folder", hint="give the folder that holds the clips")
    splits = {name: clips for name in SPLITS if (clips := _bvh_files(source / name))}
    if "train" in splits and len(splits) > 1:
        if val_share is not None:
            raise TrainerError(f"{source} is split already", hint="leave --val-share out")
        return splits
    clips = _bvh_files(source)
    if not clips:
        raise TrainerError(f"{source} holds no .bvh file", hint="give the folder with the clips")
    if splits:
        there = ", ".join(f"{name}/ ({len(found)})" for name, found in splits.items())
        raise TrainerError(f"{source} has {there}, and both train/ and val/ (or dev/) are needed")
    if val_share is None:
        raise TrainerError(
            f"{source} has {len(clips)} clips and no train/ and val/ folders",
            hint="sort them into the two, or let --val-share 0.2 do it by name",
        )
    return importing.split_by_name(clips, val_share)


def _bvh_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".bvh")


def import_bvh(
    source: Path,
    out: Path,
    *,
    val_share: float | None = None,
    unit: str = "cm",
    skip_bad: bool = False,
    force: bool = False,
) -> Summary:
    """Import every clip of `source` into a new folder `out`, all or nothing.

    Raises:
        TrainerError: nothing to import, clips that cannot be used (unless `skip_bad`), or an `out`
            that holds something.
    """
    splits = find_clips(source, val_share)
    clips = _Clips(source, Summary(out=str(out)), CENTIMETRES[unit])
    return importing.run_import(
        source, clips.summary, splits, clips.add, clips.finish, skip_bad=skip_bad, force=force
    )


class _Clips:
    """Writes clips one by one; the first one sets the skeleton."""

    def __init__(self, source: Path, summary: Summary, scale: float) -> None:
        self.source, self.summary, self.scale = source, summary, scale
        self.splits: set[str] = set()
        self.skeleton: Skeleton | None = None
        self._rotation_sum: NDArray[np.float64] | float = 0.0

    def add(self, folder: Path, split: str, path: Path) -> None:
        self.splits.add(split)
        base = self.source / split if (self.source / split).is_dir() else self.source
        try:
            clip = read_bvh(path)
        except BvhError as error:
            raise UnusableError(error.message.removeprefix(str(path)).lstrip(":, ")) from None
        local, matrices = clip.local_transforms()
        local *= self.scale
        skeleton = self.skeleton = self.skeleton or _skeleton_of(clip, local)
        _check_same(clip, skeleton)
        keypoints = joint_positions(clip.parents, local, matrices)
        translation = keypoints[:, skeleton.translation_joint]
        pose = to_axis_angle(matrices)
        arrays = {"pose": pose, "keypoints": keypoints, "translation": translation}
        arrays = {what: array.astype(np.float32) for what, array in arrays.items()}
        name = "__".join(path.relative_to(base).with_suffix("").parts)
        importing.write_clip(self.summary, folder / split / name, arrays)
        gaps = np.linalg.norm(skeleton.positions(matrices, translation) - keypoints, axis=-1)
        worst = float(gaps[:, list(skeleton.moving)].max())
        self.summary.bone_error_cm = max(self.summary.bone_error_cm, worst)
        if split == "train":
            self._rotation_sum = self._rotation_sum + matrices.sum(axis=0)

    def finish(self, folder: Path) -> None:
        summary = self.summary
        empty = sorted(self.splits - summary.clips.keys())
        if empty or self.skeleton is None:
            raise TrainerError(f"no clip of {self.source} could be used for split {empty[0]}")
        mean = np.asarray(self._rotation_sum) / summary.frames["train"]
        skeleton = replace(self.skeleton, mirror=find_mirror(self.skeleton, mean))
        save_skeleton(skeleton, folder)
        summary.joints, summary.fps = len(skeleton), skeleton.fps
        summary.seconds = {split: round(n / skeleton.fps, 1) for split, n in summary.frames.items()}
        summary.has_mirror = skeleton.mirror is not None


def _check_same(clip: BvhClip, first: Skeleton) -> None:
    if clip.joints != first.joints or clip.parents != first.parents:
        raise UnusableError("its joints are not those of the first clip")
    if abs(_fps(clip) - first.fps) > 0.01 * first.fps:
        raise UnusableError(f"it has {_fps(clip):g} frames a second, the first clip {first.fps:g}")


def _skeleton_of(clip: BvhClip, local: NDArray[np.float64]) -> Skeleton:
    """Take bones and the joint that carries the motion from the first clip."""
    moves = np.ptp(local, axis=0).max(axis=-1) > MOVES
    offsets = np.median(local, axis=0).round(6)
    try:
        return Skeleton(
            joints=clip.joints,
            parents=clip.parents,
            offsets=tuple((float(x), float(y), float(z)) for x, y, z in offsets),
            fps=_fps(clip),
            translation_joint=int(np.argmax(moves)),  # 0 if none moves
        )
    except ValueError as error:
        raise UnusableError(str(error)) from None


def _fps(clip: BvhClip) -> float:
    return round(1.0 / clip.frame_time_s, 2)


def _describe(summary: Summary) -> str:
    return (
        f"{summary.joints} joints, {summary.fps:g} frames a second; a fixed skeleton explains the "
        f"positions within {summary.bone_error_cm:.4f} cm; left and right "
        f"{'can' if summary.has_mirror else 'cannot'} be mirrored"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.motion.importers.bvh", "Import BVH clips as a motion data set."
    )
    parser.add_argument("--val-share", type=float, metavar="SHARE")
    parser.add_argument("--unit", choices=CENTIMETRES, default="cm", help="of the files' lengths")
    return importing.run(parser, argv, import_bvh, lambda summary: summary.fps, _describe)


if __name__ == "__main__":
    run_main(main)
