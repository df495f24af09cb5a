"""What the engine's loop costs: the same model trained bare and through fit, side by side.

Both train the same convolutions on the same batches with the same optimizer, clipping and
schedule, A B B A within one process and on one core, so that a busy machine slows both.

    python benchmarks/engine_loop.py [--json] [--rounds N]
"""

from __future__ import annotations

import argparse
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
from trainers.engine.data import Batches, BatchPlan
from trainers.engine.loop import fit
from trainers.engine.optim import build_optimizer, build_schedule
from trainers.engine.run import open_outputs
from trainers.engine.sections import LoaderConfig, LoopConfig, OptimConfig
from trainers.engine.state import TrainState

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
    Size("about 5 ms a step", 64, 12, 64, 40),
    Size("about 50 ms a step", 128, 24, 128, 6),
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


def bare(size: Size, x_NWT: Tensor) -> float:
    """Seconds per step of the loop one would write by hand."""
    model = model_of(size)
    optimizer = build_optimizer(model, OPTIM, samples_per_step=size.batch)
    schedule = build_schedule(optimizer, OPTIM, 10**6)
    trained = list(model.parameters())
    batches = order(size)
    began = time.perf_counter()
    for rows in batches:
        x_BWT = x_NWT[rows]
        parts = losses(model, x_BWT)
        parts["loss"].backward()
        clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        parts["loss"].item()
    return (time.perf_counter() - began) / size.steps


def engine(size: Size, x_NWT: Tensor) -> float:
    """Seconds per step of the engine's loop."""
    config = LoopConfig(total_iter=size.steps, batch_size=size.batch, save_iter=10**9)
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
        rows = iter(order(size))
        batches = Batches(
            plan=BatchPlan(
                lengths=np.zeros(len(x_NWT)), batch_size=size.batch, world_size=1, seed=0
            ),
            load=lambda _rows, _seeds: x_NWT[next(rows)],
            world=world,
            loader=LoaderConfig(),
        )
        result = fit(
            state, batches, losses, config=config, grad_clip=1.0, world=world, outputs=outputs
        )
    return result.seconds / size.steps


def order(size: Size) -> list[Tensor]:
    """The rows of each step's batch."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (size.batch,), generator=generator) for _ in range(size.steps)]


def compare(size: Size, rounds: int) -> dict[str, object]:
    """Medians over the rounds, and the median of the rounds' ratios."""
    x_NWT = torch.randn(256, size.width, size.frames, generator=torch.Generator().manual_seed(0))
    bare(size, x_NWT)
    engine(size, x_NWT)
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds // 2):
        pairs.append((bare(size, x_NWT), engine(size, x_NWT)))
        after = engine(size, x_NWT)
        pairs.append((bare(size, x_NWT), after))
    bare_s, engine_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(through / by_hand for by_hand, through in pairs)
    return {
        "size": size.name,
        "bare_ms": round(1e3 * bare_s, 3),
        "engine_ms": round(1e3 * engine_s, 3),
        "ratio": round(ratio, 4),
        "limit": LIMIT,
        "rounds": rounds,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.add_argument("--rounds", type=int, default=40, help="pairs of A and B")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compare(size, options.rounds) for size in SIZES]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['size']:<20} bare {row['bare_ms']:>7} ms   engine {row['engine_ms']:>7} ms   "
            f"ratio {row['ratio']:.4f} (at most {LIMIT})"
        )


if __name__ == "__main__":
    main()
