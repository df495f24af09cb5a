"""Import a folder of BVH clips: `python -m trainers.rvq.importers.bvh SRC --out OUT`.

SRC holds train/ and val/ (or dev/) with *.bvh, or a flat folder and --val-share.
OUT gets `<split>/<clip>/{pose,keypoints,translation}.npy` and skeleton.json:
pose (T, J*3) axis-angle in radians, keypoints (T, J, 3) by forward kinematics over every channel of
the file, translation (T, 3) the place of the joint that carries the motion; lengths in centimetres.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from trainers.engine import importing
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.tables import quiet_table
from trainers.motion.bvh_file import BvhClip, BvhError, read_bvh
from trainers.motion.skeleton import Skeleton, find_mirror, save_skeleton, to_axis_angle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPLITS = ("train", "val", "dev")
CENTIMETRES = {"mm": 0.1, "cm": 1.0, "m": 100.0, "inch": 2.54}
MOVES = 1e-3  # a local position that varies by more than this (file units) is motion


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an import did."""

    out: str
    joints: int
    fps: float
    clips: dict[str, int]
    frames: dict[str, int]
    seconds: dict[str, float]
    skipped: dict[str, str]
    bone_error_cm: float
    """Largest distance between keypoints and the fixed skeleton posed with the same rotations."""
    has_mirror: bool
    took_s: float


def find_clips(source: Path, val_share: float | None = None) -> dict[str, list[Path]]:
    """List the clips of each split, sorted by path.

    A flat folder is split by name: the share of clips whose digests are lowest is validation, so
    that adding a clip moves no other.
    """
    if not source.is_dir():
        raise TrainerError(f"{source} is not a folder", hint="give the folder that holds the clips")
    splits = {name: _bvh_files(source / name) for name in SPLITS}
    splits = {name: clips for name, clips in splits.items() if clips}
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
    if len(clips) < 2 or not 0 < val_share < 1:
        raise TrainerError(f"--val-share {val_share} of {len(clips)} clips leaves a split empty")
    by_digest = sorted(clips, key=lambda c: hashlib.sha256(c.stem.encode()).digest())
    count = min(max(1, round(val_share * len(clips))), len(clips) - 1)
    chosen = set(by_digest[:count])
    return {
        "train": [clip for clip in clips if clip not in chosen],
        "val": [clip for clip in clips if clip in chosen],
    }


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
    console: Console | None = None,
) -> Summary:
    """Import every clip of `source` into a new folder `out`, all or nothing.

    Raises:
        TrainerError: nothing to import, clips that cannot be used (unless `skip_bad`), or an `out`
            that holds something.
    """
    splits = find_clips(source, val_share)
    clips = [(split, clip) for split, clips in splits.items() for clip in clips]
    importer = _Importer(source, out, splits=tuple(splits), scale=CENTIMETRES[unit])
    return importing.run_import(
        source, out, clips, importer, skip_bad=skip_bad, force=force, console=console
    )


class _Importer:
    """Writes clips one by one; the first one sets the skeleton."""

    def __init__(self, source: Path, out: Path, *, splits: tuple[str, ...], scale: float) -> None:
        self.source, self.out = source, out
        self.splits = splits
        self.scale = scale
        self.skeleton: Skeleton | None = None
        self.skipped: dict[str, str] = {}
        self.clips: dict[str, int] = {}
        self.frames: dict[str, int] = {}
        self.bone_error = 0.0
        self._rotation_sum: NDArray[np.float64] | float = 0.0

    def add(self, folder: Path, item: tuple[str, Path]) -> None:
        split, path = item
        base = self.source / split if (self.source / split).is_dir() else self.source
        name = "__".join(path.relative_to(base).with_suffix("").parts)
        folder = folder / split / name
        if folder.exists():
            self.skipped[str(path)] = f"another clip of {split} is {name} already: rename one"
            return
        try:
            clip = read_bvh(path)
            local, matrices = clip.local_transforms()
            local *= self.scale
            if self.skeleton is None:
                self.skeleton = _skeleton_of(clip, local)
            self._check_same(clip, self.skeleton)
        except BvhError as error:
            self.skipped[str(path)] = error.message.removeprefix(str(path)).lstrip(":, ")
            return
        keypoints = joint_positions(clip.parents, local, matrices)
        translation = keypoints[:, self.skeleton.translation_joint]
        posed = self.skeleton.positions(matrices, translation)
        moving = list(self.skeleton.moving)
        gap = np.linalg.norm(posed - keypoints, axis=-1)[:, moving].max()
        self.bone_error = max(self.bone_error, float(gap))
        if split == "train":
            self._rotation_sum = self._rotation_sum + matrices.sum(axis=0)
        folder.mkdir(parents=True)
        importing.save(folder / "pose.npy", to_axis_angle(matrices).astype(np.float32))
        importing.save(folder / "keypoints.npy", keypoints.astype(np.float32))
        importing.save(folder / "translation.npy", translation.astype(np.float32))
        self.clips[split] = self.clips.get(split, 0) + 1
        self.frames[split] = self.frames.get(split, 0) + len(keypoints)

    @staticmethod
    def _check_same(clip: BvhClip, first: Skeleton) -> None:
        if clip.joints != first.joints or clip.parents != first.parents:
            raise BvhError("its joints are not those of the first clip")
        if abs(_fps(clip) - first.fps) > 0.01 * first.fps:
            raise BvhError(f"it has {_fps(clip):g} frames a second, the first clip {first.fps:g}")

    def finish(self, folder: Path, took_s: float) -> Summary:
        for split in self.splits:
            if not self.clips.get(split):
                raise TrainerError(f"no clip of {self.source} could be used for split {split}")
        if self.skeleton is None:
            raise TrainerError("not one clip could be read")
        mean = np.asarray(self._rotation_sum) / max(self.frames.get("train", 0), 1)
        skeleton = replace(self.skeleton, mirror=find_mirror(self.skeleton, mean))
        save_skeleton(skeleton, folder)
        return Summary(
            out=str(self.out),
            joints=len(skeleton),
            fps=skeleton.fps,
            clips=self.clips,
            frames=self.frames,
            seconds={split: round(n / skeleton.fps, 1) for split, n in self.frames.items()},
            skipped=self.skipped,
            bone_error_cm=self.bone_error,
            has_mirror=skeleton.mirror is not None,
            took_s=took_s,
        )


def joint_positions(
    parents: Sequence[int], local: NDArray[np.float64], matrices: NDArray[np.float64]
) -> NDArray[np.float64]:
    """World positions (T, J, 3) from local positions (T, J, 3) and rotations (T, J, 3, 3)."""
    placed = np.empty_like(local)
    turned = np.empty_like(matrices)
    for joint, parent in enumerate(parents):
        if parent < 0:
            placed[:, joint], turned[:, joint] = local[:, joint], matrices[:, joint]
            continue
        moved = np.einsum("tij,tj->ti", turned[:, parent], local[:, joint])
        placed[:, joint] = placed[:, parent] + moved
        turned[:, joint] = turned[:, parent] @ matrices[:, joint]
    return placed


def _skeleton_of(clip: BvhClip, local: NDArray[np.float64]) -> Skeleton:
    """Take bones and the joint that carries the motion from the first clip."""
    moves = np.ptp(local, axis=0).max(axis=-1) > MOVES
    carrier = int(np.argmax(moves)) if moves.any() else 0
    offsets = np.median(local, axis=0)
    return Skeleton(
        joints=clip.joints,
        parents=clip.parents,
        offsets=tuple((float(x), float(y), float(z)) for x, y, z in offsets.round(6)),
        fps=_fps(clip),
        translation_joint=carrier,
    )


def _fps(clip: BvhClip) -> float:
    return round(1.0 / clip.frame_time_s, 2)


def show(summary: Summary, console: Console) -> None:
    """Print the closing summary as a table."""
    table = quiet_table("split", "clips", "frames", "seconds")
    for split, clips in summary.clips.items():
        table.add_row(
            split, str(clips), f"{summary.frames[split]:,}", f"{summary.seconds[split]:,.1f}"
        )
    importing.show_counts(summary.out, table, console)
    console.print(
        f"{summary.joints} joints, {summary.fps:g} frames a second; a fixed skeleton explains the "
        f"positions within {summary.bone_error_cm:.4f} cm; left and right "
        f"{'can' if summary.has_mirror else 'cannot'} be mirrored; took {summary.took_s:.1f} s",
        soft_wrap=True,
    )
    importing.show_skipped(summary.skipped, console)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.rvq.importers.bvh", "Import BVH clips as a motion data set."
    )
    parser.add_argument("--val-share", type=float, metavar="SHARE")
    parser.add_argument("--unit", choices=CENTIMETRES, default="cm", help="of the files' lengths")
    return importing.run(parser, argv, import_bvh, show)


if __name__ == "__main__":
    run_main(main)
