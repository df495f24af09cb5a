"""Batches do not depend on the number of ranks, and can be taken up anywhere."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.engine.batches import (
    Batches,
    BatchPlan,
    evaluation_batches,
    item_rng,
    item_seeds,
    length_buckets,
    to_device,
)
from trainers.engine.config.sections import LoaderConfig, LoopConfig
from trainers.engine.distributed import World

LENGTHS = np.random.default_rng(0).choice([32, 48, 64], size=101)


def plan(lengths=LENGTHS, batch_size=4, world_size=1, seed=1, **more) -> BatchPlan:
    return BatchPlan(
        lengths=lengths, batch_size=batch_size, world_size=world_size, seed=seed, **more
    )


def rank_of(rank: int, world_size: int) -> World:
    return World(rank=rank, local_rank=rank, world_size=world_size, device=torch.device("cpu"))


def taken(of: BatchPlan, world: World, epoch: int, start: int, count: int, workers: int = 0):
    """The first rows and seeds of a stream."""
    batches = Batches(
        plan=of,
        load=lambda rows, seeds, _together: (rows, seeds),
        world=world,
        loader=LoaderConfig(num_workers=workers),
    )
    stream = batches.stream(epoch, start)
    batches = [batch for batch, _weight in itertools.islice(stream, count)]
    return [tuple(part.tolist() for part in batch) for batch in batches]


def test_each_sample_at_most_once_an_epoch_and_one_length_a_batch() -> None:
    """An epoch repeats nothing, mixes no lengths, leaves out only what fills no batch."""
    batches = plan().batches(0)
    rows = np.concatenate(batches)

    assert len(rows) == len(set(rows.tolist()))
    assert {len(batch) for batch in batches} == {4}
    assert all(len(set(LENGTHS[batch])) == 1 for batch in batches)
    assert len(rows) > len(LENGTHS) - 3 * 4
    assert plan().per_epoch == len(batches)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    """The plan is a function of (seed, epoch)."""

    def rows(seed: int, epoch: int) -> list[int]:
        return np.concatenate(plan(seed=seed).batches(epoch)).tolist()

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)
    assert set(rows(1, 0)) != set(rows(1, 1)), "what is left out changes from epoch to epoch"


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_together_see_what_one_rank_sees(ranks: int) -> None:
    """Shards in the order of ranks are the batch of one rank, samples' seeds included."""
    alone = taken(plan(batch_size=8), rank_of(0, 1), 0, 0, 15)
    shards = [
        taken(plan(batch_size=8 // ranks, world_size=ranks), rank_of(rank, ranks), 0, 0, 15)
        for rank in range(ranks)
    ]

    together = [
        tuple([value for part in parts for value in part[i]] for i in range(2))
        for parts in zip(*shards, strict=True)
    ]
    assert together == alone


@given(
    samples=st.integers(1, 60),
    ranks=st.integers(1, 7),
    size=st.integers(1, 9),
    extra=st.integers(0, 60),
)
def test_a_global_batch_is_dealt_out_whole_and_evenly(samples, ranks, size, extra) -> None:
    """Each of its samples once, no part empty, parts one apart at most."""
    total = ranks + extra
    loop = LoopConfig(total_iter=1, batch_size=size, global_batch=total)
    passes = loop.accumulation(ranks)
    of = plan(np.zeros(samples), world_size=ranks, passes=passes, global_batch=total)
    (batch, *_) = of.batches(0)
    parts = [part for rank in range(ranks) for part in of.shares(batch, rank)]

    sizes = [len(part) for part in parts]
    assert len(parts) == ranks * passes
    assert sorted(np.concatenate(parts)) == sorted(batch)
    assert len(batch) == total
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size + 1


def test_weights_are_what_parts_count_in_the_mean_of_the_step() -> None:
    """Means over parts of 4, 3 and 3 samples, so weighed, are the mean over all ten."""
    weights = []
    for rank in range(3):
        batches = Batches(
            plan=plan(np.zeros(10), world_size=3, global_batch=10),
            load=lambda rows, *_: rows,
            world=rank_of(rank, 3),
            loader=LoaderConfig(),
        )
        (rows, weight) = next(batches.stream(0, 0))
        weights.append((len(rows), weight))

    assert weights == [(4, pytest.approx(1.2)), (3, pytest.approx(0.9)), (3, pytest.approx(0.9))]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_is_taken_up_in_mid_epoch(workers: int) -> None:
    """From (epoch, batch) on, a stream is the rest of the one from the beginning."""
    of = plan()
    whole = taken(of, rank_of(0, 1), 0, 0, 2 * of.per_epoch + 3)

    resumed = taken(of, rank_of(0, 1), 1, 5, of.per_epoch - 2, workers)

    assert resumed == whole[of.per_epoch + 5 :]


def test_frames_per_batch_sets_the_size_by_length() -> None:
    """Long samples come in small batches; the frames of a batch stay about the same."""
    batches = plan(frames_per_batch=256).batches(0)

    assert {int(LENGTHS[batch[0]]): len(batch) for batch in batches} == {32: 8, 48: 5, 64: 4}


@pytest.mark.parametrize(("samples", "size"), [(10, 8), (1, 4), (3, 2)])
def test_too_few_samples_are_repeated_into_one_batch(samples: int, size: int) -> None:
    """A batch is always whole; nothing is repeated where a batch can be filled."""
    (first, *more) = plan(np.zeros(samples), batch_size=size).batches(0)

    assert (len(first), more) == (size, [])
    assert len(set(first.tolist())) == min(samples, size)


def test_a_rare_length_is_not_lost() -> None:
    """A length with less than a batch of samples is trained on all the same."""
    rows = np.concatenate(plan(np.array([8] * 20 + [9]), batch_size=4).batches(0))

    assert 20 in rows


@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=80),
    size=st.integers(1, 20),
    waste=st.sampled_from([0.0, 0.15, 0.5]),
)
def test_buckets_of_free_lengths(lengths: list[int], size: int, waste: float) -> None:
    """Nothing is cut, each bucket can fill a batch, and none is larger than it must be."""
    given_lengths = np.array(lengths)
    padded = length_buckets(given_lengths, size, waste)

    assert (padded >= given_lengths).all()
    for longest in set(padded.tolist()):
        bucket = given_lengths[padded == longest]
        assert bucket.max() == longest
        assert len(bucket) >= min(size, len(lengths))
        shortest = bucket[bucket == bucket.min()]
        wasted = 1 - bucket.mean() / longest
        needed = len(bucket) - len(shortest) < size
        joined = bucket.min() == given_lengths.min()  # what was left over has joined this one
        assert wasted <= waste + 1e-9 or needed or joined
    below = np.sort(given_lengths)
    assert (np.diff(length_buckets(below, size, waste)) >= 0).all(), "buckets do not overlap"


def test_lengths_of_speech_fill_batches_with_little_padding() -> None:
    """200 different lengths, which one by one would be 200 batches of one repeated sample."""
    lengths = np.random.default_rng(0).integers(50, 500, 2000)

    padded = length_buckets(lengths, 32)

    assert 1 - lengths.sum() / padded.sum() <= 0.16
    assert len(set(padded.tolist())) < 12
    rows = np.concatenate(plan(padded, batch_size=32).batches(0))
    assert len(rows) == len(set(rows.tolist())) > 1700


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    size=st.integers(1, 4),
    ranks=st.sampled_from([1, 2, 3]),
    passes=st.integers(1, 3),
    start=st.integers(0, 3),
)
def test_any_ranks_and_passes_see_the_same_steps(
    lengths: list[int], size: int, ranks: int, passes: int, start: int
) -> None:
    """Whatever the lengths: N ranks of P passes are one rank of the N*P-fold batch, seeds too.

    Also if taken up in mid-epoch. So what is drawn from a sample's seed is the same as well.
    """
    of = plan(np.array(lengths), size, world_size=ranks, passes=passes)
    one = plan(np.array(lengths), size * ranks * passes)
    start = min(start, one.per_epoch - 1)
    steps = one.per_epoch + 1

    alone = taken(one, rank_of(0, 1), 2, start, steps)
    parts = [taken(of, rank_of(rank, ranks), 2, start, steps * passes) for rank in range(ranks)]

    assert of.per_epoch == one.per_epoch
    for step, (rows, seeds) in enumerate(alone):
        dealt = [parts[rank][step * passes + p] for p in range(passes) for rank in range(ranks)]
        assert [row for part, _ in dealt for row in part] == rows
        assert [seed for _, part in dealt for seed in part] == seeds
        assert [item_rng(seed).normal() for _, part in dealt for seed in part] == [
            item_rng(seed).normal() for seed in seeds
        ]


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_evaluation_takes_each_sample_once(ranks: int) -> None:
    """Over all ranks nothing is dropped or repeated, and the shares are even."""
    shares = [evaluation_batches(LENGTHS, 4, rank_of(rank, ranks)) for rank in range(ranks)]
    counts = [sum(map(len, share)) for share in shares]

    rows = np.concatenate([batch for share in shares for batch in share])
    assert sorted(rows.tolist()) == list(range(101))
    assert max(counts) - min(counts) <= 1
    assert all(len(set(LENGTHS[batch])) == 1 for share in shares for batch in share)


def test_evaluation_with_fewer_samples_than_ranks() -> None:
    """A rank may get nothing."""
    shares = [evaluation_batches(np.zeros(1), 4, rank_of(rank, 3)) for rank in range(3)]

    assert [len(share) for share in shares] == [1, 0, 0]


def test_seeds_of_samples() -> None:
    """Different for each sample and epoch, the same again, and independent of the batch."""
    seeds = item_seeds(1, 0, 1000)

    assert len(set(seeds.tolist())) == 1000
    assert (seeds == item_seeds(1, 0, 2000)[:1000]).all()
    assert not (seeds == item_seeds(1, 1, 1000)).any()
    assert item_rng(seeds[3]).random() == item_rng(int(seeds[3])).random()


class Pair(NamedTuple):
    x: torch.Tensor
    name: str


@dataclass(frozen=True)
class Clip:
    pose: torch.Tensor
    mask: torch.Tensor | None


def test_batches_of_any_shape_move_to_a_device() -> None:
    """Tensors move wherever they are; the rest stays."""
    x = torch.zeros(2)
    batch = {"pair": Pair(x, "a"), "clip": Clip(x, None), "list": [x, 3]}

    moved = to_device(batch, torch.device("meta"))

    assert moved["pair"].x.device.type == moved["clip"].pose.device.type == "meta"
    assert moved["list"][0].device.type == "meta"
    assert (moved["pair"].name, moved["clip"].mask, moved["list"][1]) == ("a", None, 3)
    assert to_device(batch, torch.device("cpu")) is batch
