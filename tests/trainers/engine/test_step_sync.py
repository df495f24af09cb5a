"""The vector that ranks exchange, on the CPU's way and on the GPU's."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import tensor

from trainers.engine.distributed import World
from trainers.engine.errors import TrainerError
from trainers.engine.step_sync import StepSync, Stop


class Copied:
    """An event of a copy that has arrived."""

    def synchronize(self) -> None:
        pass


def of(rank: int, ranks: int = 1, stop: Stop | None = None) -> StepSync:
    world = World(rank=rank, local_rank=rank, world_size=ranks, device=torch.device("cpu"))
    return StepSync(world, stop or Stop())


def summed(*vectors: torch.Tensor, step: int = 7) -> StepSync:
    """Rank 0 of as many ranks, with the sum of their vectors on its way from the GPU."""
    first = of(0, len(vectors))
    first._names = ("loss", "recons")
    first._pending = (step, torch.stack(vectors).sum(0), Copied())
    return first


def test_on_a_cpu_the_report_is_there_at_once() -> None:
    """Values of this step, and no second report of it."""
    here = of(0)

    report = here.send(3, {"loss": tensor(0.5), "recons": tensor(2.0)})

    assert report is not None
    assert (report.step, report.values, report.stop) == (3, {"loss": 0.5, "recons": 2.0}, None)
    assert here.flush() is None


def test_from_a_gpu_values_are_means_over_ranks() -> None:
    """What the ranks' vectors add up to, once it has arrived; once only."""
    pending = summed(
        of(0, 2)._vector(tensor([1.0, 2.0])),
        of(1, 2)._vector(tensor([3.0, 6.0])),
    )

    report = pending.flush()

    assert report is not None
    assert (report.step, report.values, report.stop) == (7, {"loss": 2.0, "recons": 4.0}, None)
    assert pending.flush() is None


def test_from_a_gpu_the_culprit_is_named() -> None:
    """Also several ranks; the sum is not blamed for its part."""
    bad = tensor([float("nan"), float("inf")])

    with pytest.raises(TrainerError, match=r"step 7: recons is not finite on ranks 0, 2$"):
        summed(
            of(0, 3)._vector(bad),
            of(1, 3)._vector(tensor([1.0, 2.0])),
            of(2, 3)._vector(bad),
        ).flush()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_from_a_gpu_one_vote_is_enough(signum: signal.Signals) -> None:
    """A signal to one rank is known to all."""
    quiet, asked = of(0, 2), of(1, 2, Stop(signum=signum))
    values = tensor([1.0, 2.0])

    report = summed(quiet._vector(values), asked._vector(values)).flush()

    assert report is not None
    assert report.stop == signum


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"loss": "nan", "a": 1, "grad_norm": "nan"}, "loss is"),
        ({"loss": 1, "a": 1, "grad_norm": "inf"}, "grad_norm is"),
        ({"loss": "nan", "a": "nan", "b": "inf", "grad_norm": "nan"}, "a, b are"),
    ],
)
def test_the_cause_is_named_rather_than_its_effects(values: dict, named: str) -> None:
    """A part before the sum, the sum before the gradient."""
    with pytest.raises(TrainerError, match=f"step 1: {named} not finite on rank 0"):
        of(0).send(1, {name: tensor(float(value)) for name, value in values.items()})


def test_names_must_stay() -> None:
    """Losses that come and go would be mixed up between ranks."""
    here = of(0)
    here.send(1, {"loss": tensor(1.0)})

    with pytest.raises(ValueError, match="losses had the names"):
        here.send(2, {"loss": tensor(1.0), "more": tensor(1.0)})
