"""Read every sample of a data set, and say what is wrong with it (numpy, no torch).

What a trainer adds: how a sample is read, which of its values belong together, its own rules.
Shapes: T rows (frames) of a sample, F values of a row.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.errors import TrainerError
from trainers.engine.files import reason
from trainers.engine.samples import VALIDATION_SPLITS
from trainers.engine.statistics import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Rows = NDArray[np.float64]

R = TypeVar("R")
SHOWN = 20


class UnusableError(Exception):
    """A sample that cannot be used; the words say why, as in "CLIP: it has no pose.npy"."""


@dataclass(slots=True)
class Ranges(Moments):
    """Moments, and the least and the largest of each value."""

    low: Any = np.inf
    high: Any = -np.inf

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Add rows (T, F)."""
        Moments.add(self, rows)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Values that belong together, over all rows: ranges of their means and deviations."""

    name: str
    values: int
    mean: tuple[float, float]
    std: tuple[float, float]
    constant: tuple[str, ...]  # values that never change


def describe_group(
    name: str, ranges: Ranges, columns: Sequence[int], label: Callable[[int], str]
) -> Group:
    """Describe the values in these columns; `label` names a column."""
    part = list(columns)
    mean, std, still = ranges.mean[part], ranges.std[part], ranges.low == ranges.high
    return Group(
        name=name,
        values=len(part),
        mean=(float(mean.min()), float(mean.max())),
        std=(float(std.min()), float(std.max())),
        constant=tuple(label(column) for column in part if still[column]),
    )


@dataclass(slots=True, kw_only=True)
class Found:
    """What reading the samples of a split has shown."""

    lengths: dict[str, int] = field(default_factory=dict)  # rows of each sample that can be used
    unusable: dict[str, str] = field(default_factory=dict)  # why, by the sample's name
    ranges: Ranges = field(default_factory=Ranges)


def read_samples(names: Iterable[str], read: Callable[[str], Rows]) -> Found:
    """Read samples by name; `read` gives the rows (T, F), or raises UnusableError."""
    found = Found()
    for name in names:
        try:
            rows = read(name)
        except UnusableError as error:
            found.unusable[name] = str(error)
            continue
        found.lengths[name] = len(rows)
        found.ranges.add(rows)
    return found


def read_rows(path: Path, read_head: Callable[[str], npy.Head]) -> Rows:
    """Read the rows (T, F) of a sample's file, all of them finite.

    Raises:
        UnusableError: if that cannot be.
    """
    try:
        rows: Rows = np.asarray(npy.mapped(path, read_head(str(path))), dtype=np.float64)
    except FileNotFoundError:
        raise UnusableError(f"it has no {path.name}") from None
    except TrainerError as error:
        raise UnusableError(error.message.removeprefix(f"{path} ")) from None
    except OSError as error:
        raise UnusableError(f"it cannot be read: {reason(error)}") from None
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        count = f"{len(bad):,} of {len(rows):,} frames"
        raise UnusableError(f"{count} hold a value that is not finite, first frame {bad[0]}")
    return rows


def splits_to_check(root: Path, wanted: str | None) -> list[str]:
    """Return the split that is wanted, else all that there are."""
    if wanted is not None:
        return [wanted]
    there = [name for name in ("train", *VALIDATION_SPLITS, "test") if (root / name).is_dir()]
    return there or ["train"]  # whose absence is then reported


def split_problems(widths: Mapping[str, int]) -> Iterator[str]:
    """Say what keeps all these splits from being trained on, although every sample can be used.

    `widths` gives the values of a row by split, 0 if the split has no sample.
    """
    if "train" not in widths:
        yield "there is no split train"
    if not widths.keys() & set(VALIDATION_SPLITS):
        yield f"there is no split to validate on: {' or '.join(VALIDATION_SPLITS)}"
    known = {split: width for split, width in widths.items() if width}
    if len(set(known.values())) > 1:
        each = ", ".join(f"{width} in {split}" for split, width in known.items())
        yield f"the splits differ in values a frame: {each}"


def print_reports(
    root: str,
    reports: Sequence[R],
    problems: Sequence[str],
    format_report: Callable[[R], Iterable[str]],
    *,
    usable: bool,
    as_json: bool,
) -> int:
    """Print what was found in the parts of a data set; return the exit code, 1 if unusable.

    ``reports`` are dataclasses, ``problems`` what keeps usable samples from being trained on.
    """
    if as_json:
        parts = [asdict(cast("Any", report)) for report in reports]
        found = {"root": root, "usable": usable, "problems": list(problems), "parts": parts}
        print(json.dumps(found, indent=1))
    else:
        print("\n\n".join("\n".join(format_report(report)) for report in reports))
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(not usable)


def format_groups(groups: Iterable[Group], unit: str) -> Iterator[str]:
    """Format groups as a table, in lines of text."""
    yield f"\n    {unit:<14}  values   mean from      to    deviation from      to"
    for group in groups:
        (low, high), (least, most) = group.mean, group.std
        yield (
            f"    {group.name:<14} {group.values:>7}   {low:>9.3f} {high:>7.3f}"
            f"    {least:>14.3f} {most:>7.3f}"
        )


def format_unusable(unusable: Mapping[str, str]) -> Iterator[str]:
    """Format the samples that cannot be used, each with its reason, in lines of text."""
    yield f"\n  unusable: {len(unusable):,}"
    yield from (f"    {name}: {why}" for name, why in list(unusable.items())[:SHOWN])
    if len(unusable) > SHOWN:
        yield f"    and {len(unusable) - SHOWN:,} more; --json has them all"
