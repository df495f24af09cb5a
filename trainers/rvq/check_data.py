"""Read every clip of a data set, and say what is wrong: `python -m trainers.rvq.check_data ROOT`.

Unusable clips are named with the reason, lengths drawn, features described. Exit code 1 where
anything is unusable. Numpy, no torch. Shapes: T frames, F values of a frame.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.bars import bars, bins, tracked
from trainers.engine.config.config import from_dict
from trainers.engine.errors import MALFORMED, TrainerError, run_main
from trainers.engine.files import reason
from trainers.engine.samples import VALIDATION_SPLITS, sample_names
from trainers.motion.skeleton import load_skeleton
from trainers.motion.smplh import JOINTS
from trainers.rvq.clips.listing import POSE, SKELETON, frame_rate, read_pose_head
from trainers.rvq.config import Config, DatasetConfig
from trainers.rvq.windows.for_training import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

CLIP = "clip.json"
SMPLH = {
    "orientation": range(1),
    "body": range(1, 22),
    "left hand": range(22, 37),
    "right hand": range(37, 52),
}
SHOWN = 20
QUIET_CLIPS = 200  # that many are read in a moment
RATE_TOLERANCE = 0.002  # 29.97 passes for 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Values that belong together, over all frames: ranges of their means and deviations."""

    name: str
    values: int
    mean: tuple[float, float]
    std: tuple[float, float]
    constant: tuple[str, ...]
    """Values that never change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What was found in a split."""

    split: str
    clips: int
    frames: int
    seconds: float
    values: int
    """Of a frame."""
    lengths: dict[str, int]
    """Clips by their number of frames, in steps."""
    groups: tuple[Group, ...]
    unusable: dict[str, str]
    """Why, by the clip's name."""
    short: tuple[str, ...]
    """Clips that no window fits into: they are padded."""


@dataclass(slots=True)
class _Moments:
    """Running sums over frames, by value."""

    count: int = 0
    total: Any = 0.0
    square: Any = 0.0
    low: Any = field(default_factory=lambda: np.inf)
    high: Any = field(default_factory=lambda: -np.inf)

    def add(self, pose: NDArray[np.float64]) -> None:
        self.count += len(pose)
        self.total = self.total + pose.sum(axis=0)
        self.square = self.square + np.einsum("tf,tf->f", pose, pose)
        self.low = np.minimum(self.low, pose.min(axis=0))
        self.high = np.maximum(self.high, pose.max(axis=0))

    def groups(self, body: _Body) -> Iterator[Group]:
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.square / self.count - mean**2, 0))
        still = self.low == self.high
        for name, joints in body.groups.items():
            part = [3 * joint + axis for joint in joints for axis in range(3)]
            yield Group(
                name=name,
                values=len(part),
                mean=(float(mean[part].min()), float(mean[part].max())),
                std=(float(std[part].min()), float(std[part].max())),
                constant=tuple(f"{body.joints[i // 3]}.{'xyz'[i % 3]}" for i in part if still[i]),
            )


def check_split(root: Path, split: str, window: int, seen: Any = iter) -> SplitReport:
    """Read all clips of a split; `window` is the number of frames of the shortest window.

    Raises:
        TrainerError: where there is no such split.
    """
    moments, unusable, lengths = _Moments(), {}, {}
    width = _wanted_width(root)
    fps = frame_rate(root)
    # What is no folder is no clip: training passes over it as well.
    for name in seen(
        [name for name in sample_names(root, split) if (root / split / name).is_dir()]
    ):
        try:
            pose = _read(root / split / name)
            _check_width(pose, width)
            _check_rate(root / split / name, fps)
        except _UnusableError as error:
            unusable[name] = str(error)
            continue
        width = width or (pose.shape[1], name)
        lengths[name] = len(pose)
        moments.add(pose)
    frames = sum(lengths.values())
    return SplitReport(
        split=split,
        clips=len(lengths),
        frames=frames,
        seconds=round(frames / fps, 1),
        values=width[0] if width else 0,
        lengths=bins(list(lengths.values())) if lengths else {},
        groups=tuple(moments.groups(_body(root, width[0]))) if width and lengths else (),
        unusable=unusable,
        short=tuple(name for name, length in lengths.items() if length < window),
    )


class _UnusableError(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """Names of joints, and which of them belong together."""

    joints: tuple[str, ...]
    groups: Mapping[str, Sequence[int]]


def _body(root: Path, values: int) -> _Body:
    skeleton, count = load_skeleton(root), values // 3
    joints = skeleton.joints if skeleton else JOINTS
    if joints == JOINTS and count == len(JOINTS):
        return _Body(joints=JOINTS, groups=SMPLH)
    if skeleton is not None:
        first = skeleton.translation_joint
        others = tuple(joint for joint in range(count) if joint != first)
        return _Body(
            joints=skeleton.joints,
            groups={
                skeleton.joints[first]: (first,),
                **({"other joints": others} if others else {}),
            },
        )
    return _Body(joints=tuple(map(str, range(count))), groups={"all joints": range(count)})


def _read(folder: Path) -> NDArray[np.float64]:
    """(T, F) of a clip, every value finite."""
    path = folder / POSE
    try:
        head = read_pose_head(str(path))
        pose = np.asarray(npy.mapped(path, head), dtype=np.float64)
    except FileNotFoundError:
        raise _UnusableError(f"it has no {POSE}") from None
    except TrainerError as error:
        raise _UnusableError(error.message.removeprefix(f"{path} ")) from None
    except OSError as error:
        raise _UnusableError(f"it cannot be read: {reason(error)}") from None
    if not np.isfinite(pose).all():
        frames = np.flatnonzero(~np.isfinite(pose).all(axis=1))
        raise _UnusableError(
            f"{len(frames):,} of {len(pose):,} frames hold a value that is not finite, "
            f"first frame {frames[0]}"
        )
    return pose


def _check_width(pose: NDArray[np.float64], wanted: tuple[int, str] | None) -> None:
    if wanted is not None and pose.shape[1] != wanted[0]:
        raise _UnusableError(f"it has {pose.shape[1]} values a frame, {wanted[1]} has {wanted[0]}")


def _check_rate(folder: Path, fps: float) -> None:
    """Compare what the clip's own file says, if there is one."""
    path = folder / CLIP
    if not path.is_file():
        return
    try:
        said = float(json.loads(path.read_bytes()).get("fps", fps))
    except (OSError, *MALFORMED):
        raise _UnusableError(f"{CLIP} cannot be read") from None
    if not abs(said - fps) <= RATE_TOLERANCE * fps:
        raise _UnusableError(f"it has {said:g} frames a second, the data set {fps:g}")


def _wanted_width(root: Path) -> tuple[int, str] | None:
    """Values of a frame as skeleton.json has it."""
    path = root / SKELETON
    if not path.is_file():
        return None
    return 3 * len(load_skeleton(root) or ()), SKELETON


def show(report: SplitReport) -> Iterator[str]:
    """Say it, for a terminal."""
    yield (
        f"{report.split}: {report.clips:,} clips, {report.frames:,} frames "
        f"({report.seconds / 3600:.2f} h), {report.values} values a frame"
    )
    if report.lengths:
        yield "\n  frames of a clip"
        yield from (f"    {line}" for line in bars(report.lengths))
    if report.groups:
        yield "\n    radians          values   mean from      to    deviation from      to"
    for group in report.groups:
        (low, high), (least, most) = group.mean, group.std
        yield (
            f"    {group.name:<14} {group.values:>7}   {low:>9.3f} {high:>7.3f}"
            f"    {least:>14.3f} {most:>7.3f}"
        )
    still = [value for group in report.groups for value in group.constant]
    if still:
        yield f"    never change (joint.axis): {_few(still)}"
    if report.short:
        yield f"\n  shorter than any window, so padded: {_few(report.short)}"
    if report.unusable:
        yield f"\n  unusable: {len(report.unusable):,}"
        yield from (f"    {name}: {why}" for name, why in list(report.unusable.items())[:SHOWN])
        more = len(report.unusable) - SHOWN
        yield from [f"    and {more:,} more; --json has them all"] if more > 0 else []


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _splits(root: Path, wanted: str | None) -> list[str]:
    if wanted is not None:
        return [wanted]
    there = [name for name in ("train", *VALIDATION_SPLITS, "test") if (root / name).is_dir()]
    return there or ["train"]  # which is then told to be missing


def _problems(reports: Sequence[SplitReport], *, alone: bool) -> Iterator[str]:
    """What keeps from training though every clip can be used."""
    there = {report.split for report in reports}
    if not alone and "train" not in there:
        yield "there is no split train"
    if not alone and not there & set(VALIDATION_SPLITS):
        yield f"there is no split to validate on: {' or '.join(VALIDATION_SPLITS)}"
    widths = {report.split: report.values for report in reports if report.values}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{width} in {split}" for split, width in widths.items())
        yield f"the splits differ in values a frame: {said}"


def _shortest(given: argparse.Namespace) -> int:
    """Frames of the shortest window."""
    windows = {"window_size": given.window_size, "multi_length": given.multi_length}
    config = from_dict(Config, windows, name="rvq", origin="the command line")
    return min(recipe(config.dataset).sizes)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    usual = DatasetConfig()
    parser = argparse.ArgumentParser(
        prog="python -m trainers.rvq.check_data", description="Read every clip of a data set."
    )
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("--split", help="left out: all that there are")
    parser.add_argument("--window-size", "--window_size", type=int, default=usual.window_size)
    parser.add_argument(
        *("--multi-length", "--multi_length", "--multi-length-training", "--multi_length_training"),
        type=float,
        nargs="+",
        default=list(usual.multi_length_training),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    window = _shortest(given)
    seen = partial(tracked, doing="reading", quiet=QUIET_CLIPS)
    reports = [
        check_split(given.root, split, window, seen) for split in _splits(given.root, given.split)
    ]
    problems = list(_problems(reports, alone=given.split is not None))
    usable = not problems and all(report.clips and not report.unusable for report in reports)
    if given.json:
        found = {
            "root": str(given.root),
            "usable": usable,
            "problems": problems,
            "splits": list(map(asdict, reports)),
        }
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(line for report in reports for line in [*show(report), ""]), end="")
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(not usable)


if __name__ == "__main__":
    run_main(main)
