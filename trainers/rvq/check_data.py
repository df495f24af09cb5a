"""Read every clip of a data set, and say what is wrong: `python -m trainers.rvq.check_data ROOT`.

Unusable clips are named with the reason, lengths are drawn, features described. The exit code is 1
if anything is unusable. Numpy, no torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.engine.bars import bars, bins, tracked
from trainers.engine.check_data import (
    Group,
    Ranges,
    UnusableError,
    describe_group,
    format_groups,
    format_unusable,
    read_rows,
    read_samples,
    split_problems,
    splits_to_check,
)
from trainers.engine.config.config import from_dict
from trainers.engine.errors import MALFORMED, TrainerError, run_main
from trainers.engine.files import load_json
from trainers.engine.samples import format_few, sample_names
from trainers.motion.clips.listing import POSE, SKELETON, frame_rate, read_pose_head
from trainers.motion.skeleton import load_skeleton
from trainers.motion.smplh import JOINTS
from trainers.rvq.config import Config, DatasetConfig
from trainers.rvq.windows.for_training import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainers.engine.samples import Watch
    from trainers.motion.skeleton import Skeleton

CLIP = "clip.json"
SMPLH = {
    "orientation": range(1),
    "body": range(1, 22),
    "left hand": range(22, 37),
    "right hand": range(37, 52),
}
QUIET_CLIPS = 200  # that many are read in a moment
RATE_TOLERANCE = 0.002  # 29.97 passes for 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """What was found in a split."""

    split: str
    clips: int
    frames: int
    seconds: float
    values: int  # of a frame
    lengths: dict[str, int]  # clips by their number of frames, in steps
    groups: tuple[Group, ...]
    unusable: dict[str, str]  # why, by the clip's name
    short: tuple[str, ...]  # clips that no window fits into: they are padded


def check_split(root: Path, split: str, window: int, watch: Watch = iter) -> SplitReport:
    """Read all clips of a split; `window` is the number of frames of the shortest window.

    Raises:
        TrainerError: if there is no such split.
    """
    skeleton, fps = load_skeleton(root), frame_rate(root)
    # The values of a frame, and what has as many.
    width = (3 * len(skeleton), SKELETON) if skeleton else None

    def read(name: str) -> NDArray[np.float64]:
        nonlocal width
        pose = read_rows(root / split / name / POSE, read_pose_head)
        if width is not None and pose.shape[1] != width[0]:
            raise UnusableError(f"it has {pose.shape[1]} values a frame, {width[1]} has {width[0]}")
        _check_rate(root / split / name, fps)
        width = width or (pose.shape[1], name)
        return pose

    # A stray file is not a clip: training ignores it as well.
    names = [name for name in sample_names(root, split) if (root / split / name).is_dir()]
    found = read_samples(watch(names), read)
    lengths = found.lengths
    frames = sum(lengths.values())
    return SplitReport(
        split=split,
        clips=len(lengths),
        frames=frames,
        seconds=round(frames / fps, 1),
        values=width[0] if width else 0,
        lengths=bins(list(lengths.values())) if lengths else {},
        groups=_groups(found.ranges, skeleton, width[0] // 3) if width and lengths else (),
        unusable=found.unusable,
        short=tuple(name for name, length in lengths.items() if length < window),
    )


def _groups(ranges: Ranges, skeleton: Skeleton | None, count: int) -> tuple[Group, ...]:
    """Describe ``count`` joints, those that belong together at once."""
    joints = skeleton.joints if skeleton else JOINTS
    groups: Mapping[str, Sequence[int]] = SMPLH
    if joints == JOINTS and count != len(JOINTS):
        joints, groups = tuple(map(str, range(count))), {"all joints": range(count)}
    elif skeleton is not None and joints != JOINTS:
        first = skeleton.translation_joint
        groups = {joints[first]: [first], "other joints": [j for j in range(count) if j != first]}

    def label(column: int) -> str:
        return f"{joints[column // 3]}.{'xyz'[column % 3]}"

    return tuple(
        describe_group(
            name, ranges, [3 * joint + axis for joint in members for axis in range(3)], label
        )
        for name, members in groups.items()
        if members
    )


def _check_rate(folder: Path, fps: float) -> None:
    """Compare what the clip's own file says, if there is one."""
    if not (folder / CLIP).is_file():
        return
    try:
        rate = float(load_json(folder / CLIP).get("fps", fps))
    except (TrainerError, *MALFORMED):
        raise UnusableError(f"{CLIP} cannot be read") from None
    if not abs(rate - fps) <= RATE_TOLERANCE * fps:
        raise UnusableError(f"it has {rate:g} frames a second, the data set {fps:g}")


def format_report(report: SplitReport) -> Iterator[str]:
    """Format a report, in lines of text."""
    yield (
        f"{report.split}: {report.clips:,} clips, {report.frames:,} frames "
        f"({report.seconds / 3600:.2f} h), {report.values} values a frame"
    )
    if report.lengths:
        yield "\n  frames of a clip"
        yield from (f"    {line}" for line in bars(report.lengths))
    if report.groups:
        yield from format_groups(report.groups, "radians")
    still = [value for group in report.groups for value in group.constant]
    if still:
        yield f"    never change (joint.axis): {format_few(still)}"
    if report.short:
        yield f"\n  shorter than any window, so padded: {format_few(report.short)}"
    if report.unusable:
        yield from format_unusable(report.unusable)


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
    windows = {"window_size": given.window_size, "multi_length": given.multi_length}
    config = from_dict(Config, windows, name="rvq", origin="the command line")
    window = min(recipe(config.dataset).sizes)
    watch = partial(tracked, doing="reading", quiet=QUIET_CLIPS)
    splits = splits_to_check(given.root, given.split)
    reports = [check_split(given.root, split, window, watch) for split in splits]
    widths = {report.split: report.values for report in reports}
    problems = list(split_problems(widths)) if given.split is None else []
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
        print("\n\n".join("\n".join(format_report(report)) for report in reports))
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(not usable)


if __name__ == "__main__":
    run_main(main)
