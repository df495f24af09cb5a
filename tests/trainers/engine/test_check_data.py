"""Samples of any data set are read one by one; what is unusable is named with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.engine.check_data import (
    UnusableError,
    describe_group,
    format_unusable,
    read_samples,
    split_problems,
)
from trainers.engine.samples import format_few


def test_unusable_samples_are_named_and_the_others_described() -> None:
    """Means and deviations are of what can be used; what never changes is said."""
    rows = np.random.default_rng(0).normal(2, 3, (50, 2))
    rows[:, 1] = 7.0

    def read(name: str) -> np.ndarray:
        if name == "bad":
            raise UnusableError("it has no text.txt")
        return rows[:20] if name == "a" else rows[20:]

    found = read_samples(["a", "bad", "b"], read)
    group = describe_group("all", found.ranges, [0, 1], lambda column: f"value {column}")

    assert found.lengths == {"a": 20, "b": 30}
    assert found.unusable == {"bad": "it has no text.txt"}
    assert group.mean == pytest.approx((rows[:, 0].mean(), 7.0))
    assert group.std == pytest.approx((0.0, rows[:, 0].std()), abs=1e-6)
    assert group.constant == ("value 1",)


@pytest.mark.parametrize(
    ("widths", "problems"),
    [
        ({"train": 3, "dev": 3}, []),
        ({"train": 3, "val": 0}, []),
        ({"train": 3}, ["there is no split to validate on: val or dev"]),
        ({"val": 3}, ["there is no split train"]),
        (
            {"train": 3, "val": 6},
            ["the splits differ in values a frame: 3 in train, 6 in val"],
        ),
    ],
)
def test_problems_of_splits(widths: dict[str, int], problems: list[str]) -> None:
    """One that is missing, or that has other values."""
    assert list(split_problems(widths)) == problems


def test_long_lists_are_cut() -> None:
    """With the number of those that are not shown."""
    names = [f"n{i}" for i in range(23)]

    assert format_few(names).endswith("n19 and 3 more")
    assert list(format_unusable(dict.fromkeys(names, "why")))[-1].strip().startswith("and 3 more")
