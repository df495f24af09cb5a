"""Read every poster of a data set: `python -m trainers.layout.check_data ROOT`.

Posters that cannot be used are named with the reason, elements are counted, layouts measured. The
exit code is 1 if anything is unusable. Numpy, no torch.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.bars import bars, bins, tracked
from trainers.engine.check_data import UnusableError, format_unusable, print_reports
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.samples import VALIDATION_SPLITS, format_few
from trainers.layout.config import DatasetConfig
from trainers.layout.layouts.layout import as_shares
from trainers.layout.layouts.reading import describe_changes, open_part, split_folders
from trainers.layout.metrics.boxes import alignment, overlap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainers.layout.layouts.posters import Poster
    from trainers.layout.layouts.reading import Part

QUIET = 200  # that many posters are read in a moment
DEFAULTS = DatasetConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """What was found in a split."""

    split: str
    posters: int
    elements: int
    with_image: int  # elements
    lengths: dict[str, int]  # posters by their number of elements, in steps
    categories: dict[str, int]  # elements by category
    canvases: dict[str, int]  # posters by the size of their canvas
    overlap: float | None  # mean over posters, as `evaluate` gives it
    alignment: float | None
    unusable: dict[str, str]  # why, by place
    incomplete: tuple[str, ...]  # folders without a poster
    notes: tuple[str, ...]


def check_part(part: Part, config: DatasetConfig) -> PartReport:
    """Read all images of a split, and describe its posters."""
    unusable = dict(part.unusable)
    good: list[Poster] = []
    for poster in tracked(part.posters, "reading", quiet=QUIET):
        try:
            for element, pictured in enumerate(poster.pictured):
                if pictured:
                    poster.read(element)
        except UnusableError as error:
            unusable[poster.place] = str(error)
            continue
        good.append(poster)
    layouts = [poster.layout for poster in good]
    shares = [as_shares(one.boxes, one.canvas) for one in layouts]
    return PartReport(
        split=part.split,
        posters=len(good),
        elements=sum(map(len, layouts)),
        with_image=sum(sum(poster.pictured) for poster in good),
        lengths=bins(list(map(len, layouts))) if good else {},
        categories=_counted(name for one in layouts for name in one.categories if name),
        canvases=_counted(f"{one.canvas[0]} x {one.canvas[1]}" for one in layouts),
        overlap=round(float(np.mean([overlap(boxes) for boxes in shares])), 4) if good else None,
        alignment=round(float(np.mean([alignment(boxes) for boxes in shares])), 4)
        if good
        else None,
        unusable=unusable,
        incomplete=tuple(part.incomplete),
        notes=tuple(describe_changes(part, config)),
    )


def problems_of(parts: Sequence[Part]) -> Iterator[str]:
    """Say what keeps the splits from being trained on, although posters can be used."""
    names = {part.split: {one.layout.name for one in part.posters} for part in parts}
    there = {split for split, found in names.items() if found}
    if "train" not in there:
        yield "there is no poster to train on"
    held_out = there & set(VALIDATION_SPLITS)
    if not held_out:
        yield "there is no poster to validate on"
    for split in sorted(held_out):
        twice = sorted(names[split] & names.get("train", set()))
        if twice:
            yield f"posters of one name in train and {split}: {format_few(twice)}"


def format_report(report: PartReport) -> Iterator[str]:
    """Format a report, in lines of text."""
    yield (
        f"{report.split}: {report.posters:,} posters, {report.elements:,} elements, "
        f"{report.with_image:,} with an image; overlap {report.overlap}, "
        f"alignment {report.alignment}"
    )
    yield from (f"  {note}" for note in report.notes)
    for title, counts in (
        ("elements of a poster", report.lengths),
        ("categories", report.categories),
        ("canvases", report.canvases),
    ):
        if counts:
            yield f"\n  {title}"
            yield from (f"    {line}" for line in bars(dict(list(counts.items())[:25])))
    if report.unusable:
        yield from format_unusable(report.unusable)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.layout.check_data", description="Read every poster of a data set."
    )
    parser.add_argument("root", metavar="ROOT")
    parser.add_argument("--split", help="left out: all that there are")
    parser.add_argument(
        *("--val-share", "--val_share"), type=float, default=DEFAULTS.val_share, help="see training"
    )
    parser.add_argument(
        *("--max-elements", "--max_elements"),
        type=int,
        default=DEFAULTS.max_elements,
        help="elements of a poster at most",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(argv)
    config = DatasetConfig(
        data=given.root, val_share=given.val_share, max_elements=given.max_elements
    )
    root = Path(given.root)
    if not root.is_dir():
        raise TrainerError(f"there is no data set at {root}", "give the folder of a data set")
    splits = [given.split] if given.split else split_folders(root) or ["train", "val"]
    parts = [open_part(config, split) for split in splits]
    reports = [check_part(part, config) for part in parts]
    problems = list(problems_of(parts)) if given.split is None else []
    usable = not problems and all(report.posters and not report.unusable for report in reports)
    return print_reports(
        given.root, reports, problems, format_report, usable=usable, as_json=given.json
    )


def _counted(names: Iterator[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


if __name__ == "__main__":
    run_main(main)
