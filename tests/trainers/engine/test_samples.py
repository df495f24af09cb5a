"""Samples of any kind of file are listed by name, several heads at a time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from trainers.engine.errors import TrainerError
from trainers.engine.samples import (
    Listing,
    check_finite,
    digest,
    find_samples,
    map_array,
    read_array_head,
    sample_names,
    validation_split,
)


def size_of(path: str) -> int:
    """A head as any trainer may have its own: bytes of a text."""
    return os.stat(path).st_size  # noqa: PTH116


def write_texts(root: Path, split: str, count: int) -> None:
    for number in range(count):
        folder = root / split / f"s{number:03d}"
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text("x" * number)


def test_samples_come_sorted_with_what_their_heads_say(tmp_path: Path) -> None:
    """However many threads read; folders without the file, and stray files, are no samples."""
    write_texts(tmp_path, "train", 200)
    (tmp_path / "train" / "s010" / "text.txt").unlink()
    (tmp_path / "train" / "stray.txt").write_text("")
    (tmp_path / "train" / ".hidden").mkdir()

    names, sizes = find_samples(tmp_path, "train", "text.txt", size_of)

    assert names == [f"s{n:03d}" for n in range(200) if n != 10]
    assert sizes == [n for n in range(200) if n != 10]


def test_no_more_than_asked_for(tmp_path: Path) -> None:
    """The first ones by name."""
    write_texts(tmp_path, "train", 5)

    names, _ = find_samples(tmp_path, "train", "text.txt", size_of, max_samples=2)

    assert names == ["s000", "s001"]


def test_what_a_reader_refuses_is_refused(tmp_path: Path) -> None:
    """Its error arrives here, from whichever thread."""
    write_texts(tmp_path, "train", 3)

    def refuse(path: str) -> int:
        raise TrainerError(f"{path} is bad")

    with pytest.raises(TrainerError, match=r"s000/text\.txt is bad"):
        find_samples(tmp_path, "train", "text.txt", refuse)


def test_absence_is_told_apart(tmp_path: Path) -> None:
    """No data set, no split, no sample: three sentences."""
    with pytest.raises(TrainerError, match="there is no data set at"):
        sample_names(tmp_path / "none", "train")
    (tmp_path / "dev").mkdir()
    with pytest.raises(TrainerError, match="has no split train; it has: dev"):
        sample_names(tmp_path, "train")
    with pytest.raises(TrainerError, match=r"has no sample: there is no \*/text.txt"):
        find_samples(tmp_path, "dev", "text.txt", size_of)


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [(("val",), "auto", "val"), (("dev",), "auto", "dev"), ((), "auto", "val"), ((), "dev", "dev")],
)
def test_val_and_dev_are_one_split(
    there: tuple[str, ...], wanted: str, found: str, tmp_path: Path
) -> None:
    """The one that is there, unless one is named."""
    for name in there:
        (tmp_path / name).mkdir()

    assert validation_split(tmp_path, wanted) == found


def test_a_digest_is_of_names_and_lengths() -> None:
    """A listing has the same one; it changes with either."""
    listing = Listing(data="d", split="train", names=("a", "b"), lengths=np.array([1, 2]))

    assert listing.digest == digest(["a", "b"], [1, 2])
    assert len({listing.digest, digest(["a", "c"], [1, 2]), digest(["a", "b"], [1, 3])}) == 3


def test_an_array_is_mapped_and_what_is_not_finite_found(tmp_path: Path) -> None:
    """By file and frame."""
    path = tmp_path / "pose.npy"
    values = np.zeros((4, 3), dtype=np.float32)
    values[2, 1] = np.nan
    np.save(path, values)

    rows = map_array(path, read_array_head(str(path)))

    check_finite(str(path), rows[:2])
    with pytest.raises(TrainerError, match=r"pose.npy holds .* first in frame 12"):
        check_finite(str(path), rows, start=10)


def test_an_array_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    """And so is what is no array."""
    np.save(tmp_path / "a.npy", np.zeros(3, dtype=np.int32))
    (tmp_path / "b.npy").write_text("text")

    with pytest.raises(TrainerError, match="does not hold floating point numbers"):
        read_array_head(str(tmp_path / "a.npy"))
    with pytest.raises(TrainerError, match="cannot be read: it is not a NumPy array"):
        read_array_head(str(tmp_path / "b.npy"))
