"""Read every sentence of a data set: `python -m trainers.signllm.check_data ROOT`.

Sentences that cannot be used are named with the reason, lengths are drawn, joints described. The
exit code is 1 if anything is unusable. Numpy, no torch.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.bars import bars, bins, tracked
from trainers.engine.check_data import UnusableError, format_unusable, print_reports
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.samples import VALIDATION_SPLITS, format_few
from trainers.signllm.config import DatasetConfig
from trainers.signllm.sentences.corpus import mark_unseen
from trainers.signllm.sentences.reading import find_places
from trainers.signllm.skeleton import COUNT, JOINTS, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from trainers.signllm.sentences.corpus import Sentence
    from trainers.signllm.sentences.part import Part

    Watch = Callable[[Sequence[int]], Iterable[int]]

GROUPS = {"body": range(8), "left hand": LEFT_HAND, "right hand": RIGHT_HAND}
QUIET = 200  # that many sentences are read in a moment
SHOULDERS = JOINTS.index("right shoulder"), JOINTS.index("left shoulder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Joints that belong together, over all frames."""

    name: str
    seen: float  # share of joints and frames
    low: float
    high: float
    never_seen: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """What was found in a split of a language."""

    language: str
    split: str
    sentences: int
    with_gloss: int
    frames: int
    lengths: dict[str, int]  # sentences by their number of frames, in steps
    words: int  # different ones in texts
    glosses: int
    shoulder_width: float | None  # median, in the units of the data
    groups: tuple[Group, ...]
    unusable: dict[str, str]  # why, by place
    incomplete: dict[str, str]  # what is missing, by place
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Joints:
    """What is gathered of joints (J, ...) over frames."""

    frames: int = 0
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(COUNT, dtype=np.int64))
    low: NDArray[np.float64] = field(default_factory=lambda: np.full(COUNT, np.inf))
    high: NDArray[np.float64] = field(default_factory=lambda: np.full(COUNT, -np.inf))
    widths: list[float] = field(default_factory=list)

    def add(self, poses: NDArray[np.float32]) -> None:
        """Add poses (T, 150)."""
        joints = poses.reshape(len(poses), COUNT, 3)
        there = np.isfinite(joints)
        self.frames += len(poses)
        self.seen += there[..., 0].sum(axis=0)
        self.low = np.minimum(self.low, np.where(there, joints, np.inf).min(axis=(0, 2)))
        self.high = np.maximum(self.high, np.where(there, joints, -np.inf).max(axis=(0, 2)))
        right, left = (joints[:, joint].astype(np.float64) for joint in SHOULDERS)
        width = np.linalg.norm(right - left, axis=1)
        self.widths += width[np.isfinite(width)].tolist()

    def groups(self) -> Iterator[Group]:
        """Describe body and hands."""
        for name, members in GROUPS.items():
            part = list(members)
            known = self.seen[part] > 0
            yield Group(
                name=name,
                seen=round(float(self.seen[part].mean() / max(1, self.frames)), 4),
                low=float(self.low[part][known].min()) if known.any() else 0.0,
                high=float(self.high[part][known].max()) if known.any() else 0.0,
                never_seen=tuple(JOINTS[joint] for joint in part if not self.seen[joint]),
            )


def read_poses(part: Part, row: int) -> NDArray[np.float32]:
    """Read the poses (T, 150) of a sentence, NaN where a joint was not seen.

    Raises:
        UnusableError: they cannot be used, or hold nothing.
    """
    poses = mark_unseen(part.read(row))
    if not np.isfinite(poses).any():
        raise UnusableError("no joint was seen in any frame")
    return poses


def check_part(part: Part, watch: Watch = iter) -> PartReport:
    """Read all sentences of a split in one language."""
    joints, lengths, unusable = _Joints(), [], dict(part.unusable)
    good: list[Sentence] = []
    for row in watch(range(len(part.sentences))):
        try:
            poses = read_poses(part, row)
        except UnusableError as error:
            unusable[part.places[row]] = str(error)
            continue
        joints.add(poses)
        lengths.append(len(poses))
        good.append(part.sentences[row])
    return PartReport(
        language=part.language,
        split=part.split,
        sentences=len(good),
        with_gloss=sum(one.gloss is not None for one in good),
        frames=joints.frames,
        lengths=bins(lengths) if lengths else {},
        words=len({word for one in good for word in one.text.split()}),
        glosses=len({word for one in good for word in one.gloss or ()}),
        shoulder_width=round(float(np.median(joints.widths)), 4) if joints.widths else None,
        groups=tuple(joints.groups()) if good else (),
        unusable=unusable,
        incomplete=dict(part.incomplete),
        notes=part.notes,
    )


def problems_of(reports: Sequence[PartReport]) -> Iterator[str]:
    """Say what keeps the splits from being trained on, although sentences can be used."""
    splits = {report.split for report in reports if report.sentences}
    if "train" not in splits:
        yield "there is no split train: --train-split NAME trains on another one"
    if not splits & set(VALIDATION_SPLITS):
        yield f"there is no split to validate on: {' or '.join(VALIDATION_SPLITS)}"
    for language in sorted({report.language for report in reports}):
        mine = [report for report in reports if report.language == language and report.sentences]
        with_gloss = [report.split for report in mine if report.with_gloss]
        without = [report.split for report in mine if not report.with_gloss]
        if with_gloss and without:
            there, absent = format_few(with_gloss), format_few(without)
            yield f"{language} has glosses in {there}, not in {absent}"


def format_report(report: PartReport) -> Iterator[str]:
    """Format a report, in lines of text."""
    width = report.shoulder_width
    yield (
        f"{report.language}, {report.split}: {report.sentences:,} sentences, {report.frames:,} "
        f"frames, {report.words:,} words, {report.with_gloss:,} with gloss "
        f"({report.glosses:,} glosses), shoulder width {'unknown' if width is None else width}"
    )
    yield from (f"  {note}" for note in report.notes)
    if report.lengths:
        yield "\n  frames of a sentence"
        yield from (f"    {line}" for line in bars(report.lengths))
        yield "\n    joints          seen      from        to"
    for group in report.groups:
        yield f"    {group.name:<14} {group.seen:>4.0%} {group.low:>9.3f} {group.high:>9.3f}"
    unseen = [joint for group in report.groups for joint in group.never_seen]
    if unseen:
        yield f"    never seen: {format_few(unseen)}"
    if report.incomplete:
        first, why = next(iter(report.incomplete.items()))
        yield f"\n  left out: {len(report.incomplete):,}; the first is {first}: {why}"
    if report.unusable:
        yield from format_unusable(report.unusable)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.signllm.check_data",
        description="Read every sentence of a data set.",
    )
    parser.add_argument("root", metavar="ROOT")
    parser.add_argument("--split", help="left out: all that there are")
    parser.add_argument("--languages", nargs="+", default=[], help="left out: all that there are")
    parser.add_argument("--language", default="unknown", help="of files in no language's folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    config = DatasetConfig(
        data=given.root, languages=tuple(given.languages), language=given.language
    )
    places = find_places(config)
    wanted = [
        (place, split) for place in places for split in place.splits if given.split in (None, split)
    ]
    if not wanted:
        there = sorted({split for place in places for split in place.splits})
        raise TrainerError(f"{given.root} has no split {given.split}; it has: {format_few(there)}")
    watch = partial(tracked, doing="reading", quiet=QUIET)
    reports = [check_part(place.open_part(split), watch) for place, split in wanted]
    problems = list(problems_of(reports)) if given.split is None else []
    usable = not problems and all(report.sentences and not report.unusable for report in reports)
    return print_reports(
        given.root, reports, problems, format_report, usable=usable, as_json=given.json
    )


if __name__ == "__main__":
    run_main(main)
