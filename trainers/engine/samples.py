"""The samples of a split by name and length, as their files' first bytes tell (numpy, no torch).

`<root>/<split>/<sample>/<file>`: the values are not read, so thousands are listed in a moment.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.errors import TrainerError
from trainers.engine.files import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Watch = Callable[[list[str]], Iterable[str]]

Head = TypeVar("Head")

VALIDATION_SPLITS = ("val", "dev")
READERS, PORTION = 8, 64  # threads that read heads, and samples that each takes at a time
REPAIR = "write the sample again, or remove its folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The S samples of a split, sorted by name."""

    data: str  # the data set's folder, or the name of a built-in one
    split: str
    names: tuple[str, ...]
    lengths: NDArray[np.int64]  # (S,), in frames or whatever a sample consists of

    @property
    def digest(self) -> str:
        """Changes when a sample is added, removed or renamed, or changes its length."""
        return digest(self.names, self.lengths.tolist())


def digest(names: Sequence[str], lengths: Iterable[int]) -> str:
    """Return 16 hexadecimal digits that stand for a list of samples."""
    lines = "".join(f"{name} {length}\n" for name, length in zip(names, lengths, strict=True))
    return hashlib.sha256(os.fsencode(lines)).hexdigest()[:16]


def format_few(names: Sequence[str], most: int = 20) -> str:
    """Format the first of many names."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def validation_split(root: Path, wanted: str = "auto") -> str:
    """Return the folder to validate on: val and dev are two names of one split."""
    if wanted != "auto":
        return wanted
    return next((name for name in VALIDATION_SPLITS if (root / name).is_dir()), "val")


def sample_names(root: Path, split: str) -> list[str]:
    """Return the names of a split's folders, sorted.

    Raises:
        TrainerError: if there is no such split; it lists those there are.
    """
    if not root.is_dir():
        raise TrainerError(f"there is no data set at {root}", "give --data a folder, or synthetic")
    if not (root / split).is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        raise TrainerError(
            f"{root} has no split {split}; it has: {there}",
            "a data set has train/ and val/ (or dev/), with one folder for each sample",
        )
    try:
        return sorted(name for name in os.listdir(root / split) if name[0] != ".")  # noqa: PTH208
    except OSError as error:
        raise TrainerError(f"{root / split} cannot be read: {reason(error)}") from None


def find_samples(
    root: Path,
    split: str,
    sample_file: str,
    read_head: Callable[[str], Head],
    *,
    max_samples: int | None = None,
    watch: Watch = iter,
) -> tuple[list[str], list[Head]]:
    """Return the samples that have the file, and what `read_head(path)` says of each.

    `watch` may follow the names as they are read.

    Raises:
        TrainerError: if there are none, and what `read_head` raises.
    """
    found = list(islice(_read_heads(root, split, sample_file, read_head, watch), max_samples))
    if not found:
        raise TrainerError(
            f"{root / split} has no sample: there is no */{sample_file}",
            "import or copy samples there",
        )
    names, heads = zip(*found, strict=True)
    return list(names), list(heads)


def read_array_head(path: str) -> npy.Head:
    """Read the head of a sample's .npy file of floating point numbers.

    Raises:
        TrainerError: if it cannot be used; it names the file.
        FileNotFoundError, NotADirectoryError: if there is none.
    """
    try:
        head = npy.read_head(path)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (npy.ArrayError, OSError) as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}", REPAIR) from None
    if head.dtype.kind != "f":
        raise TrainerError(f"{path} does not hold floating point numbers", "write it as float32")
    return head


def map_array(path: Path, head: npy.Head) -> NDArray[Any]:
    """Map the values of a sample's file; they stay on disk until used.

    Raises:
        TrainerError: if it cannot be mapped; it names the file.
    """
    try:
        return npy.mapped(path, head)
    except (OSError, ValueError) as error:
        raise TrainerError(
            f"{path} cannot be mapped: {reason(error)}",
            "if there are more samples than vm.max_map_count, an administrator can raise it",
        ) from None


def check_finite(path: str, rows: NDArray[np.floating[Any]], start: int = 0) -> None:
    """Refuse rows (T, F) of a sample, from frame `start` on, that hold NaN or infinity.

    Raises:
        TrainerError: naming file and frame.
    """
    if not np.isfinite(rows).all():
        frame = start + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise TrainerError(
            f"{path} holds a value that is not finite, first in frame {frame}", REPAIR
        )


def _read_heads(
    root: Path, split: str, sample_file: str, read_head: Callable[[str], Head], watch: Watch
) -> Iterator[tuple[str, Head]]:
    """Read the heads in order, several at a time: a disk answers many requests at once."""

    def read_portion(names: list[str]) -> list[tuple[str, Head]]:
        found = []
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                found.append((name, read_head(f"{root}/{split}/{name}/{sample_file}")))
        return found

    names = iter(watch(sample_names(root, split)))
    portions = iter(lambda: list(islice(names, PORTION)), [])
    with ThreadPoolExecutor(READERS) as pool:
        for portion in pool.map(read_portion, portions):
            yield from portion
