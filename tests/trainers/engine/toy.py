"""A trainer as small as one can be, that draws on everything the resume law is about.

``train`` runs it in this process, ``train_on_ranks`` on real gloo ranks. ``plot`` says what goes
wrong, as ``{(rank, step): event}``: "sigterm" or "sigint", alone or followed by "twice" or
"later again", "crash", "nan", "full disk BYTES", "cannot draw".
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.engine import distributed, step_sync
from trainers.engine.batches import evaluation_batches, item_rng
from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import setting
from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig, RunConfig
from trainers.engine.errors import run_main
from trainers.engine.loop import FitResult, fit
from trainers.engine.metrics import Means
from trainers.engine.prepare import prepare, session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLES, WIDTH = 22, 6
# What takes long to import is imported once, by the process that the ranks are forked from.
PRELOADED = ["trainers.engine.prepare"]
PRELOADED += ["tensorboard.summary.writer.event_file_writer", "torch._dynamo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """How the toy draws and what it looks at."""

    samples: int = setting(SAMPLES, "samples in the data set")
    dropout: float = setting(0.3, "dropout")
    noise: float = setting(0.1, "augmentation")
    scaled: bool = setting(False, "scale the loss, as float16 on a GPU needs it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of the toy."""

    run: RunConfig = RunConfig()
    loop: LoopConfig = LoopConfig(
        total_iter=14, batch_size=4, accumulate=2, print_iter=4, eval_iter=5, save_iter=6
    )
    optim: OptimConfig = OptimConfig(
        lr=1e-2, warmup_iter=3, lr_scheduler=(6, 10), gamma=0.5, ema_decay=0.9
    )
    loader: LoaderConfig = LoaderConfig()
    toy: ToyConfig = ToyConfig()


class Toy(nn.Module):
    """Two layers around dropout, and a codebook-like buffer that learns by averaging."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, 16)
        self.outer = nn.Linear(16, WIDTH)
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(requires_grad=False)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("average", torch.zeros(16))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, x_BD: Tensor) -> Tensor:
        """Reconstruct (B, WIDTH)."""
        hidden = self.dropout(torch.relu(self.inner(self.frozen(x_BD))))
        return self.outer(hidden + self.average)


def train(
    config: Config,
    plot: Mapping[tuple[int, int], str] | None = None,
    ranks: distributed.World | None = None,
) -> FitResult:
    """Train the toy in this process."""
    plot = plot or {}
    with session(config, "toy", ranks) as (world, outputs):
        rng = np.random.default_rng(7)
        x_ND = rng.normal(size=(config.toy.samples, WIDTH)).astype(np.float32)
        lengths = np.arange(config.toy.samples) % 2
        model = Toy(config.toy.dropout)
        state, batches = prepare(
            model, config, world, lengths=lengths, load=partial(load, x_ND, config.toy.noise)
        )
        if config.toy.scaled:
            state.scaler = _scaler()
        checkpoint.resume(state, config.run.resume, outputs, world)

        def losses(model: nn.Module, x_BD: Tensor) -> dict[str, Tensor]:
            recons = (model(x_BD) - x_BD).square().mean()
            # As any recipe might: numbers from each of the global generators.
            jitter = random.random() * float(np.random.random()) * config.toy.dropout  # noqa: NPY002, S311
            penalty = jitter * model.parameters().__next__().square().mean()
            if plot.get((world.rank, state.step + 1)) == "nan":
                penalty = penalty * float("nan")
            return {"loss": recons + penalty, "recons": recons, "penalty": penalty}

        def after_step(step: int) -> None:
            model.average.mul_(0.9).add_(0.1 * model.inner.bias.detach())
            model.updates.add_(1)
            act(plot.get((world.rank, step)))

        def evaluate(_step: int) -> dict[str, float]:
            means = Means(("loss", "draw"), world)
            for rows in evaluation_batches(lengths, 3, world):
                x_BD = torch.from_numpy(x_ND[rows])
                means.add("loss", (state.bare(x_BD) - x_BD).square())
            means.add("draw", torch.rand(2))
            return means.reduce()

        def sample(step: int) -> None:
            outputs.samples.mkdir(exist_ok=True)
            drawn = state.judged(torch.rand(1, WIDTH))
            said = f"{drawn.requires_grad} {state.judged.training} {random.random()}"  # noqa: S311
            (outputs.samples / f"step_{step}.txt").write_text(said)
            if plot.get((world.rank, step)) == "cannot draw":
                raise RuntimeError("no such font\nor another")

        return fit(
            state,
            batches,
            losses,
            config=config.loop,
            grad_clip=config.optim.grad_clip,
            world=world,
            outputs=outputs,
            evaluate=evaluate,
            sample=sample,
            after_step=after_step,
        )


def load(
    x_ND: np.ndarray, noise: float, rows: np.ndarray, seeds: np.ndarray, _together: np.ndarray
) -> Tensor:
    """A batch of samples with augmentation, from the samples' own random states."""
    drawn = np.stack([item_rng(seed).normal(size=WIDTH) for seed in seeds])
    return torch.from_numpy(x_ND[rows] + noise * drawn.astype(np.float32))


def _scaler() -> torch.amp.GradScaler:
    """One that changes its scale every three steps."""
    return torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)


def act(what: str | None) -> None:
    """Do what the plot says."""
    if what is None:
        return
    first, *rest = what.split()
    if first == "cannot":
        return  # in sample
    if first == "crash":
        os._exit(9)
    if first == "full":
        # No file may grow beyond so many bytes from now on.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(rest[-1]), resource.RLIM_INFINITY))
    if first in ("sigterm", "sigint"):
        signal.raise_signal(getattr(signal, first.upper()))
        if rest == ["later", "again"]:
            time.sleep(step_sync.REPEAT_S + 0.05)  # that time passes is what it is about
        if rest:
            signal.raise_signal(getattr(signal, first.upper()))


@dataclass(slots=True)
class Rank:
    """How a rank ended and what it wrote to stderr and stdout."""

    exit_code: int
    stderr: str
    stdout: str


def train_on_ranks(
    config: Config, ranks: int, plot: Mapping[tuple[int, int], str] | None = None
) -> list[Rank]:
    """Train the toy on real ranks that meet through a file; one alone is a process too."""
    folder = config.run.folder.parent / f"ranks-of-{config.run.folder.name}"
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{random.random()}"  # noqa: S311
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    processes = [
        context.Process(target=_rank, args=(config, plot or {}, rank, ranks, str(meeting)))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    ended = []
    for rank, process in enumerate(processes):
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
        said = [(folder / f"rank-{rank}.{name}").read_text() for name in ("stderr", "stdout")]
        ended.append(Rank(process.exitcode or 0, *said))
    return ended


def _rank(
    config: Config, plot: Mapping[tuple[int, int], str], rank: int, ranks: int, meeting: str
) -> None:
    folder = Path(meeting).parent
    for name in ("stderr", "stdout"):
        setattr(sys, name, (folder / f"rank-{rank}.{name}").open("w", buffering=1))
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}

    def main(_argv: Sequence[str]) -> int:
        with distributed.world(init_method=f"file://{meeting}") as world:
            return train(config, plot, world).exit_code

    run_main(main)


def at(folder: Path, config: Config | None = None, *, resume: str = "none", **loop: Any) -> Config:
    """The toy's config with its run in a folder, and other settings of the loop."""
    config = config or Config()
    run = replace(config.run, out_dir=folder, resume=resume)
    return replace(config, run=run, loop=replace(config.loop, **loop))


def figures(folder: Path, split: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["split"] == split]
