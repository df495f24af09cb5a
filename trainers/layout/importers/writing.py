"""What the imports of layouts share: what they wrote, the posters they write, flags (no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.samples import format_few
from trainers.engine.tables import quiet_table
from trainers.layout.layouts.layout import Layout
from trainers.layout.layouts.posters import LONGEST_SIDE, trim, visible, write_poster

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from trainers.layout.layouts.corpus import Image

ALL = "all"  # what has no split: posters are split by their names when they are read


@dataclass(slots=True, kw_only=True)
class Outcome(importing.Outcome):
    """What an import of layouts did; posters and elements are counted by split."""

    posters: dict[str, int] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    """Elements by category."""
    hidden: int = 0
    """Elements that are left out because they have no area on the canvas."""
    trimmed: int = 0
    """Elements that are cut at the edge of the canvas."""

    def check(self) -> None:
        """Refuse an import of nothing.

        Raises:
            TrainerError: no poster was written.
        """
        if not self.posters:
            raise TrainerError("no poster could be imported, nothing was written")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The elements of a poster as a file has them, from back to front."""

    canvas: tuple[int, int]
    boxes: Sequence[Sequence[float]]  # (N, 4) left, top, width, height in pixels
    categories: Sequence[str]


def to_layout(outcome: Outcome, name: str, found: Found) -> Layout:
    """Return the elements that lie on the canvas, cut at its edges; count what is left out.

    Raises:
        UnusableError: there are none, or a number is not what it must be.
    """
    if not all(1 <= side <= LONGEST_SIDE for side in found.canvas):
        raise UnusableError(f"its canvas has {found.canvas[0]} x {found.canvas[1]} pixels")
    given = np.array(found.boxes, dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(given).all():
        raise UnusableError("a box holds a number that is not finite")
    boxes, outside = trim(given, found.canvas)
    kept = visible(boxes)
    if not kept:
        raise UnusableError("it has no element" + " on its canvas" * bool(len(given)))
    outcome.hidden += len(given) - len(kept)
    outcome.trimmed += int(outside[kept].sum())
    return Layout(
        name=name,
        canvas=found.canvas,
        boxes=boxes[kept],
        order=np.arange(len(kept)),
        ids=tuple(f"element_{row}" for row in range(len(kept))),
        categories=tuple(found.categories[row] for row in kept),
    )


def write(
    outcome: Outcome, folder: Path, split: str, layout: Layout, images: Sequence[Image | None]
) -> None:
    """Write a poster into the data set's folder, and count it.

    Raises:
        UnusableError: there is one of this name.
    """
    path = (folder if split == ALL else folder / split) / layout.name
    if path.exists():
        raise UnusableError(f"another poster is {layout.name} already: rename one")
    write_poster(path, layout, images)
    outcome.posters[split] = outcome.posters.get(split, 0) + 1
    outcome.elements[split] = outcome.elements.get(split, 0) + len(layout)
    for name in layout.categories:
        outcome.categories[name] = outcome.categories.get(name, 0) + 1


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every import of layouts has."""
    parser.add_argument(
        *("--max-samples", "--max_samples"),
        type=int,
        help="import no more than this many posters of each split",
    )


def first(items: Sequence[Path], most: int | None) -> list[Path]:
    """Return the first of a split's items.

    Raises:
        TrainerError: that would be none.
    """
    if most is not None and most < 1:
        raise TrainerError(f"--max-samples {most} leaves nothing to import")
    return list(items[:most])


def table(outcome: Outcome) -> Table:
    """Show what was imported, by split."""
    shown = quiet_table("split", "posters", "elements")
    for split, count in outcome.posters.items():
        shown.add_row(split, f"{count:,}", f"{outcome.elements[split]:,}")
    return shown


def describe(outcome: Outcome) -> str:
    """Say what was imported, in a sentence."""
    by_count = sorted(outcome.categories.items(), key=lambda item: -item[1])
    names = format_few([f"{count:,} {name}" for name, count in by_count], 30)
    return (
        f"categories: {names}; cut at the edge: {outcome.trimmed:,}; "
        f"left out, with no area on the canvas: {outcome.hidden:,}"
    )
