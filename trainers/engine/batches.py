"""Steps that see the same samples for any number of ranks, and can be taken up in mid-epoch.

What is in a step follows from (seed, epoch) and the global batch alone: the plan cuts *global*
batches, of one length each, and every one is dealt out evenly to the ranks and to their passes. So
N ranks together see what one rank with the N-fold batch size or N passes sees, and a resumed run
goes on at (epoch, step of it) as if never stopped, on as many ranks as there are.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from trainers.engine.config.sections import LoaderConfig
    from trainers.engine.distributed import World

    Indices = NDArray[np.int64]
    Seeds = NDArray[np.uint64]
    Load = Callable[[Indices, Seeds, Indices], Any]
    Key = tuple[tuple[Indices, Seeds, Indices], float]

B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """Which samples make up which step.

    ``lengths`` (N,) are the samples' lengths: a step sees samples of one length only; all zeros
    if samples are alike. A step has ``passes`` passes on each rank, each of ``batch_size``
    samples, or of as many as make up ``frames_per_batch`` frames; ``global_batch`` fixes the
    samples of the step instead, and they are dealt out as evenly as can be. What fills no whole
    step is left out of this epoch (the next one shuffles again), but a length too rare for even one
    fills it by repeating.
    """

    lengths: NDArray[Any]
    batch_size: int
    world_size: int
    seed: int
    passes: int = 1
    global_batch: int | None = None
    frames_per_batch: int | None = None

    def __post_init__(self) -> None:
        if not len(self.lengths):
            msg = "there is not a single sample to train on"
            raise TrainerError(msg, "look at the data set's path and filters")

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch, at least one."""
        return sum(max(1, len(rows) // size) for rows, size in self._buckets)

    def batches(self, epoch: int) -> list[Indices]:
        """The global batches of an epoch in order, one a step."""
        cut: list[Indices] = []
        for bucket, (rows, size) in enumerate(self._buckets):
            shuffled = np.random.default_rng((self.seed, epoch, bucket)).permutation(rows)
            count = max(1, len(rows) // size)
            cut.extend(np.resize(shuffled, count * size).reshape(count, size))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(cut))
        return [cut[i] for i in order]

    def shares(self, batch: Indices, rank: int) -> list[Indices]:
        """A rank's part of a global batch, pass by pass; parts differ by one sample at most."""
        return np.array_split(batch, self.world_size * self.passes)[rank :: self.world_size]

    @cached_property
    def _buckets(self) -> list[tuple[Indices, int]]:
        """For each length its samples and the size of its global batches."""
        order = np.argsort(self.lengths, kind="stable").astype(np.int64)
        lengths, starts = np.unique(self.lengths[order], return_index=True)
        split = np.split(order, starts[1:])
        return [(rows, self._step_size(int(n))) for rows, n in zip(split, lengths, strict=True)]

    def _step_size(self, length: int) -> int:
        if self.global_batch is not None:
            return self.global_batch
        size = local_size(length, self.batch_size, self.frames_per_batch)
        return self.world_size * self.passes * size


@dataclass(frozen=True, kw_only=True)
class Batches:
    """An endless stream of this rank's batches, one a pass.

    ``load(indices, seeds, together)`` makes a batch of samples; ``seeds`` gives each sample a
    random state of its own that depends on nothing but (seed, epoch, index): see ``item_rng``.
    What ``load`` draws from it, such as noise or augmentation, is the same for any number of ranks.
    ``together`` are the indices of the whole step's samples, for what is weighed over all of them.
    """

    plan: BatchPlan
    load: Load
    world: World
    loader: LoaderConfig

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch, the same on every rank."""
        return self.plan.per_epoch

    def stream(self, epoch: int, start: int) -> Iterator[tuple[Any, float]]:
        """Batches from step ``start`` of ``epoch`` on, epoch after epoch, without an end.

        With each its weight: what the mean over its samples counts in the mean over the step's
        passes and ranks. 1 if all have as many samples.
        """
        keys = self._keys(epoch, start)
        on_gpu = self.world.device.type == "cuda"
        if not self.loader.num_workers and not on_gpu:
            return ((self.load(*what), weight) for what, weight in keys)
        return iter(
            DataLoader(
                _Loads(self.load),
                batch_size=None,
                sampler=keys,
                num_workers=self.loader.num_workers,
                prefetch_factor=self.loader.prefetch if self.loader.num_workers else None,
                pin_memory=on_gpu,
                collate_fn=_as_it_is,
                worker_init_fn=_ignore_signals,
                # A separate one: starting workers must not draw from the generator of training.
                generator=torch.Generator(),
            )
        )

    def _keys(self, epoch: int, start: int) -> Iterator[Key]:
        parts = self.plan.world_size * self.plan.passes
        for now in itertools.count(epoch):
            seeds_N = item_seeds(self.plan.seed, now, len(self.plan.lengths))
            for batch in self.plan.batches(now)[start:]:
                for rows in self.plan.shares(batch, self.world.rank):
                    yield (rows, seeds_N[rows], batch), len(rows) * parts / len(batch)
            start = 0


def length_buckets(lengths: NDArray[Any], size: int, waste: float = 0.15) -> NDArray[np.int64]:
    """The lengths (N,) to pad samples to, so that batches of free lengths can be filled.

    Samples of nearby lengths are padded to the longest of their bucket. A bucket holds at least
    ``size`` samples, the global batch, if there are as many; beyond that it takes shorter ones as
    long as no more than ``waste`` of its padded frames are padding. The result is what
    ``BatchPlan`` takes as lengths.
    """
    found, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
    padded = found.copy()
    samples = frames = 0  # of the bucket, which grows downwards from its longest sample
    top = last = len(found)
    for i in reversed(range(len(found))):
        grown, filled = samples + counts[i], frames + found[i] * counts[i]
        if samples >= size and filled < (1 - waste) * grown * found[top - 1]:
            last, top = top, i + 1
            grown, filled = counts[i], found[i] * counts[i]
        samples, frames = grown, filled
        padded[i] = found[top - 1]
    if 0 < samples < size and last > top:  # too few are left over: they join the bucket above
        padded[:top] = found[last - 1]
    bucketed: NDArray[np.int64] = padded[np.searchsorted(found, lengths)]
    return bucketed


def evaluation_batches(
    lengths: NDArray[Any], batch_size: int, world: World, frames_per_batch: int | None = None
) -> list[Indices]:
    """This rank's batches of an evaluation: over all ranks each sample once, none left out.

    Batches hold one length each; the samples of each length are spread evenly, so that a rank may
    get none at all if there are few.
    """
    batches: list[Indices] = []
    turn = 0
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        # Whose turn it is goes on from length to length: rank 0 is not dealt every odd one.
        mine = rows[(world.rank - turn) % world.world_size :: world.world_size]
        turn += len(rows)
        size = local_size(int(length), batch_size, frames_per_batch)
        batches += [mine[i : i + size] for i in range(0, len(mine), size)]
    return batches


def local_size(length: int, batch_size: int, frames_per_batch: int | None) -> int:
    """Samples of a length in one rank's batch."""
    if frames_per_batch is None:
        return batch_size
    return max(1, frames_per_batch // max(1, length))


def item_seeds(seed: int, epoch: int, count: int) -> Seeds:
    """The seeds (count,) of all samples in an epoch.

    Outputs of splitmix64 (Steele, Lea and Flood 2014), wrapping at 64 bits.
    """
    begin = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
    z = begin + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Seeds = z ^ (z >> np.uint64(31))
    return mixed


def item_rng(seed: np.uint64 | int) -> np.random.Generator:
    """The random state of one sample."""
    return np.random.default_rng(int(seed))


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with all its tensors on the device, copied without waiting if pinned.

    DataLoader pins tensors in containers, and what has a method ``pin_memory``: so must a
    dataclass.
    """
    if device.type == "cpu" or isinstance(batch, Tensor):
        return batch if device.type == "cpu" else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [to_device(value, device) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if is_dataclass(batch) and not isinstance(batch, type):
        named = {f.name: to_device(getattr(batch, f.name), device) for f in fields(batch)}
        return replace(batch, **named)
    return batch


def pinned(batch: B) -> B:
    """A batch that is a dataclass, in memory that a GPU copies from in the background.

    For its method ``pin_memory``; parts that are no tensors and no such dataclasses stay.
    """
    parts = {one.name: getattr(batch, one.name) for one in fields(cast("Any", batch))}
    moved = {name: part.pin_memory() for name, part in parts.items() if hasattr(part, "pin_memory")}
    return cast("B", replace(cast("Any", batch), **moved))


class _Loads(Dataset[Any]):
    """``load`` in the form that DataLoader wants."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __getitem__(self, key: Key) -> tuple[Any, float]:
        what, weight = key
        return self._load(*what), weight


def _as_it_is(batch: Any) -> Any:
    return batch


def _ignore_signals(_worker: int) -> None:
    """A stop is the training process's to decide; the worker ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
