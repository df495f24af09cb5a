"""Padding changes no mean, however samples of different lengths are dealt out to ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.engine.distributed import World
from trainers.engine.masked import masked_mean, pad, step_lengths
from trainers.engine.metrics import reduce_sums

ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=12),
    ranks=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_weighted_means_of_ranks_are_the_mean_over_all_frames(
    lengths: list[int], ranks: int, seed: int
) -> None:
    """The law by which N ranks train as one does, also on padded samples."""
    frames = np.array(lengths)
    ranks = min(ranks, len(lengths))
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(len(lengths), 9, 2)))
    there = torch.arange(9) < torch.tensor(lengths)[:, None]
    together = np.arange(len(lengths))

    found = 0.0
    for rows in np.array_split(together, ranks):
        mine = step_lengths(frames, np.full_like(frames, 9), rows, together)
        share = 1.0 if mine is None else mine.share()
        of_samples = len(rows) / len(together)  # as the loop weighs a rank with fewer samples
        found += of_samples * share * float(masked_mean(values[rows], there[rows]))

    assert found == pytest.approx(float(values[there].mean()))


def test_shares_of_other_units() -> None:
    """Differences of frames are one fewer; where no sample has any, all ranks count the same."""
    lengths, padded = np.array([1, 3, 5]), np.array([5, 5, 5])
    mine = step_lengths(lengths, padded, np.array([0, 1]), np.arange(3))

    assert mine is not None
    assert mine.share() == pytest.approx(2 / 3)
    assert mine.share(lambda n: np.maximum(n - 1, 0)) == pytest.approx(1 / 2)
    assert mine.share(np.zeros_like) == 1.0


def test_no_lengths_if_all_count_the_same() -> None:
    """One batch that is the whole step, no step at all, or nothing padded."""
    lengths, padded = np.array([5, 5, 3]), np.array([5, 5, 5])

    assert step_lengths(lengths, padded, np.arange(3), np.arange(3)) is None
    assert step_lengths(lengths, padded, np.arange(2), None) is None
    assert step_lengths(lengths, padded, np.array([0]), np.array([0, 1])) is None
    assert step_lengths(lengths, padded, np.array([0]), np.array([0, 2])) is not None


def test_padding_is_zeros_that_the_mask_leaves_out() -> None:
    """Without padding there is no mask."""
    short, long = np.ones((2, 3), dtype=np.float32), np.ones((4, 3), dtype=np.float32)

    stacked, mask = pad([short, long], 4)
    whole, none = pad([long, long], 4)

    assert mask is not None
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert stacked.sum() == 18
    assert (stacked[0, 2:] == 0).all()
    assert masked_mean(stacked, mask) == 1
    assert none is None
    assert whole.shape == (2, 4, 3)


def test_a_mask_without_frames_gives_zero() -> None:
    """And so do no values: no step may divide by nothing."""
    assert masked_mean(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)) == 0
    assert masked_mean(torch.ones(1, 0, 2), None) == 0


def test_sums_keep_their_names_and_shapes() -> None:
    """Through the one fused tensor."""
    sums = {"scalar": torch.tensor(2.0), "none": torch.zeros(0), "table": torch.ones(2, 3)}

    found = reduce_sums(sums, ALONE)

    assert {name: part.shape for name, part in found.items()} == {
        name: part.shape for name, part in sums.items()
    }
    assert found["scalar"] == 2
    assert (found["table"] == 1).all()
