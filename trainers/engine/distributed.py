"""This process among the ranks, and the few things that ranks do together.

Each function takes the ``World`` as an argument and does nothing if there is one rank.
"""

from __future__ import annotations

import os
import random
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=30)  # for rank 0
GLOO_SETTLES_S = 0.1
"""Gloo's threads need the interpreter's lock to drop the tensors of the last collectives, and its
destructor joins them while it holds that lock: a deadlock (pytorch/pytorch#56297). Nothing tells
when they are done."""
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process among all: its rank, how many there are, its device."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other rank."""
        return self.world_size == 1


@contextmanager
def world(init_method: str | None = None) -> Iterator[World]:
    """The world that torchrun's environment describes; one CPU or GPU without it.

    With several ranks a process group exists inside: nccl on GPUs, else gloo.

    Raises:
        TrainerError: this rank has no GPU, or does not reach the others.
    """
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    world_size, device = int(os.environ.get("WORLD_SIZE", "1")), _device(local_rank)
    here = World(rank=rank, local_rank=local_rank, world_size=world_size, device=device)
    if here.is_alone:
        yield here
        return
    backend = "nccl" if here.device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(
            backend,
            init_method=init_method,
            rank=rank,
            world_size=world_size,
            device_id=here.device if backend == "nccl" else None,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"rank {rank} of {world_size} cannot reach the other ranks: {reason}"
        hint = "start it with torchrun, on a port that is free"
        raise TrainerError(msg, hint) from error
    yield here
    # Not after an exception: tearing down would wait for ranks that are still in a collective.
    if backend == "gloo":
        time.sleep(GLOO_SETTLES_S)
    dist.destroy_process_group()


def replicate(model: nn.Module, world: World) -> nn.Module:
    """The model with its gradients averaged over ranks; rank 0's weights and buffers count.

    Buffers are not broadcast again at every step: what the ranks compute alike stays alike.
    """
    if world.is_alone:
        return model
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)
    with warnings.catch_warnings():
        # Its successor's name is newer than the oldest torch that we run on.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            model,
            device_ids=[world.device.index] if world.device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


def wait_for_first(work: Callable[[], None], world: World, waiting: Callable[[], None]) -> None:
    """Let rank 0 do the work while the others wait, for as long as it takes.

    The others call ``waiting()`` several times a second, and are in no collective of the default
    group, whose timeout would end them. Raises on all ranks the TrainerError that the work raises.
    """
    if world.is_alone:
        work()
        return
    group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    problem: list[tuple[str, str] | None] = [None]
    if world.is_first:
        try:
            work()
        except TrainerError as error:
            problem = [(error.message, error.hint)]
    done = dist.barrier(group, async_op=True)
    while not done.is_completed():
        waiting()
        time.sleep(POLL_S)
    done.wait()
    dist.broadcast_object_list(problem, group=group)
    dist.destroy_process_group(group)
    if problem[0] is not None:
        raise TrainerError(*problem[0])


def all_reduce_sum(tensor: Tensor, world: World) -> Tensor:
    """Sum a tensor over ranks, in place; the same tensor is returned."""
    if not world.is_alone:
        dist.all_reduce(tensor)
    return tensor


def all_gather_rows(tensor: Tensor, world: World) -> Tensor:
    """The rows of all ranks, (n_r, ...) each, as (sum of n_r, ...) in the order of ranks."""
    if world.is_alone:
        return tensor
    count = torch.zeros(world.world_size, dtype=torch.int64, device=tensor.device)
    count[world.rank] = len(tensor)
    dist.all_reduce(count)
    counts = count.tolist()
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    rows = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(rows, padded)
    return torch.cat([row[:n] for row, n in zip(rows, counts, strict=True)])


def broadcast_object(value: T, world: World) -> T:
    """Rank 0's value, on all ranks."""
    if world.is_alone:
        return value
    holder: list[Any] = [value]
    dist.broadcast_object_list(holder, device=world.device)
    return holder[0]  # type: ignore[no-any-return]


def gather_objects(value: T, world: World) -> list[T]:
    """The values of all ranks in their order, on rank 0; an empty list on the others."""
    if world.is_alone:
        return [value]
    holder: list[Any] | None = [None] * world.world_size if world.is_first else None
    dist.gather_object(value, holder)
    return holder or []


def mixed_seed(*numbers: int) -> int:
    """A seed of 63 bits: of the run's, and say a rank, or a step and a layer."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_everything(seed: int, world: World) -> None:
    """Seed python, numpy and torch, each rank differently; models agree through ``replicate``."""
    own = mixed_seed(seed, world.rank)
    random.seed(own)
    np.random.seed(own % 2**32)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(own)


def shared_generator(seed: int, *numbers: int) -> torch.Generator:
    """A generator on the CPU in the same state on all ranks: see ``mixed_seed``."""
    return torch.Generator().manual_seed(mixed_seed(seed, *numbers))


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_rank >= count:
        msg = f"local rank {local_rank} has no GPU: {count} visible"
        raise TrainerError(msg, "start at most one worker per GPU, or see CUDA_VISIBLE_DEVICES")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
