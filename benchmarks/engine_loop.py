"""What the engine's loop costs: the same model trained bare and through fit, side by side.

Both train the same convolutions on the same batches with the same optimizer, clipping and
schedule, A B B A within one process and on one core, so that a busy machine slows both. Other
work on the machine moves the medians by some percent all the same; the ratio that counts is that
of the fastest tenth of the steps, those that were let alone.

    python benchmarks/engine_loop.py [--json] [--rounds N]
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from trainers.engine import distributed
from trainers.engine.batches import Batches, BatchPlan
from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig
from trainers.engine.loop import fit
from trainers.engine.malloc import keep_freed_memory
from trainers.engine.optim import build_optimizer, build_schedule
from trainers.engine.outputs import open_outputs

LIMIT = 1.02
OPTIM = OptimConfig(lr_scheduler=(10_000,))


@dataclass(frozen=True)
class Size:
    """A model and its batches: convolutions of a width over (batch, width, frames)."""

    name: str
    width: int
    batch: int
    frames: int
    steps: int


SIZES = (
    Size("about 5 ms a step", 64, 16, 64, 50),
    Size("about 50 ms a step", 128, 24, 128, 10),
)


def model_of(size: Size) -> nn.Module:
    """Four convolutions, the same weights each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv1d(size.width, size.width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(size.width, size.width, 3, padding=1))


def losses(model: nn.Module, x_BWT: Tensor) -> dict[str, Tensor]:
    """A reconstruction and its velocity."""
    y_BWT = model(x_BWT)
    recons = functional.smooth_l1_loss(y_BWT, x_BWT)
    velocity = functional.smooth_l1_loss(y_BWT.diff(dim=2), x_BWT.diff(dim=2))
    return {"loss": recons + 0.5 * velocity, "recons": recons, "velocity": velocity}


class Feed:
    """Hands out the batches of one training, and keeps the time of each hand-out."""

    def __init__(self, size: Size, x_NWT: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(len(x_NWT), (size.steps, size.batch), generator=generator)
        self._rows = iter(rows)
        self._x_NWT = x_NWT
        self._times: list[float] = []

    def next(self) -> Tensor:
        """The next batch."""
        self._times.append(time.perf_counter())
        return self._x_NWT[next(self._rows)]

    def steps_s(self) -> list[float]:
        """Seconds from each hand-out to the next."""
        return [after - before for before, after in itertools.pairwise(self._times)]


def bare(size: Size, x_NWT: Tensor) -> list[float]:
    """Seconds of each step of the loop one would write by hand."""
    model = model_of(size)
    optimizer = build_optimizer(model, OPTIM, samples_per_step=size.batch)
    schedule = build_schedule(optimizer, OPTIM, 10**6)
    trained = list(model.parameters())
    feed = Feed(size, x_NWT)
    for _ in range(size.steps):
        parts = losses(model, feed.next())
        parts["loss"].backward()
        clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].item()
    return feed.steps_s()


def engine(size: Size, x_NWT: Tensor) -> list[float]:
    """Seconds of each step of the engine's loop."""
    config = LoopConfig(total_iter=size.steps, batch_size=size.batch, save_iter=10**9)
    feed = Feed(size, x_NWT)
    with (
        tempfile.TemporaryDirectory() as folder,
        distributed.world() as world,
        open_outputs(Path(folder), world, trainer="benchmark", config={}) as outputs,
    ):
        logging.getLogger("trainers").setLevel(logging.WARNING)
        model = model_of(size)
        optimizer = build_optimizer(model, OPTIM, samples_per_step=size.batch)
        schedule = build_schedule(optimizer, OPTIM, 10**6)
        state = TrainState(model=model, optimizer=optimizer, schedule=schedule, scaler=None)
        plan = BatchPlan(lengths=np.zeros(len(x_NWT)), batch_size=size.batch, world_size=1, seed=0)
        batches = Batches(
            plan=plan, load=lambda *_: feed.next(), world=world, loader=LoaderConfig()
        )
        fit(state, batches, losses, config=config, grad_clip=1.0, world=world, outputs=outputs)
    return feed.steps_s()


def compare(size: Size, rounds: int) -> dict[str, object]:
    """The medians of all steps of both, and the ratio."""
    x_NWT = torch.randn(256, size.width, size.frames, generator=torch.Generator().manual_seed(0))
    bare(size, x_NWT)
    engine(size, x_NWT)
    by_hand: list[float] = []
    through: list[float] = []
    for _ in range(rounds):
        by_hand += bare(size, x_NWT)
        through += engine(size, x_NWT)
        through += engine(size, x_NWT)
        by_hand += bare(size, x_NWT)
    medians = [statistics.median(steps) for steps in (by_hand, through)]
    fastest = [statistics.quantiles(steps, n=10)[0] for steps in (by_hand, through)]
    return {
        "size": size.name,
        "bare_ms": round(1e3 * medians[0], 3),
        "engine_ms": round(1e3 * medians[1], 3),
        "ratio_of_medians": round(medians[1] / medians[0], 4),
        "ratio": round(fastest[1] / fastest[0], 4),
        "limit": LIMIT,
        "steps": len(by_hand),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of A B B A")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # The engine does it for its process; here the bare loop is to have the benefit too.
    keep_freed_memory()
    rows = [compare(size, options.rounds) for size in SIZES]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['size']:<20} bare {row['bare_ms']:>7} ms   engine {row['engine_ms']:>7} ms   "
            f"ratio {row['ratio']:.4f} (at most {LIMIT}; "
            f"of the medians {row['ratio_of_medians']:.4f})"
        )


if __name__ == "__main__":
    main()
