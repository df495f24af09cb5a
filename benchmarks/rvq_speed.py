"""How fast rvq trains: windows of several lengths, two ranks, and a GPU where there is one.

    python benchmarks/rvq_speed.py [--part lengths --part ranks --part device] [--rounds 8]
                                   [--width 512] [--json]

- lengths: whole training steps on windows of 32 to 96 frames as they occur in clips of 950 frames
  (the ratios of the preset `seamless`), in batches of one length each, against the same model on
  mixed batches padded to the longest: with a mask, and as it is cheapest, without one. In this
  process, one after the other; what is compared are frames that are there, per second.
- ranks: two ranks over gloo, a thread each: the share of a step that they spend in the quantizer's
  exchange of sums and counts, and in all of its update, measured inside of the step.
- device: steps of the preset `beat-7x4090` per second beside the same with `ResidualVQ` for a
  quantizer, in turns, and how near they come to what this device does at best: the matrix ceiling
  is a large product of matrices in the same precision, the copy ceiling a large copy. What a step
  moves is what its eager operations read and write; of a compiled one, what it would have moved. On
  a GPU: float32 and bfloat16, as they are and with encoder and decoder compiled, and the memory
  that a step takes against what `gpuops estimate` says. Without one: float32 and 32 windows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from device_limits import copy_ceiling, matrix_ceiling, work
from rvq_peer import Peer
from torch import Tensor, nn

from trainers.engine import distributed
from trainers.engine.batches import BatchPlan
from trainers.engine.config.config import resolve
from trainers.engine.distributed import World
from trainers.engine.memory.rehearsal import Question, need
from trainers.engine.optim import build_optimizer
from trainers.rvq import quantizer as quantizing
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.estimate import Shapes, rehearsal
from trainers.rvq.losses import MotionLoss
from trainers.rvq.model import RVQVAE
from trainers.rvq.windows.windows import Windows, cut_windows

FEATURES = 156
CLIPS, CLIP_FRAMES = 200, 950
BATCH = 32
WARM, TURNS = 3, 3
GOALS = {"lengths": 1.5, "ranks": 0.03}
CPU = torch.device("cpu")


def preset(name: str, *more: str) -> Config:
    return resolve(Config, ["--preset", name, *more], name="rvq", presets=PRESETS)


@dataclass(slots=True)
class Trainer:
    """Takes training steps, as the loop does, on batches that are there."""

    config: Config
    world: World
    peer: bool = False
    precision: torch.dtype | None = None
    compiled: bool = False
    bare: RVQVAE = field(init=False)
    model: nn.Module = field(init=False)
    loss: MotionLoss = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        config = self.config
        self.bare = RVQVAE(FEATURES, config.model, config.quantizer)
        if self.peer:
            self.bare.quantizer = Peer(  # type: ignore[assignment]
                config.model, config.quantizer, decay=config.quantizer.mu, threshold_ema_dead_code=1
            )
        self.bare.to(self.world.device)
        if self.compiled:
            self.bare.encoder.compile()
            self.bare.decoder.compile()
        self.model = distributed.replicate(self.bare, self.world)
        self.loss = MotionLoss(config.loss)
        self.optimizer = build_optimizer(self.bare, config.optim, samples_per_step=1)

    def step(self, x_BTF: Tensor, mask_BT: Tensor | None = None) -> None:
        """One step on a batch."""
        device = self.world.device.type
        with torch.autocast(device, self.precision, enabled=self.precision is not None):
            loss = self.loss(self.model(x_BTF, mask_BT), mask_BT)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(self.bare.parameters(), self.config.optim.grad_clip or 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.bare.quantizer.update_(self.world)


# --- lengths --------------------------------------------------------------------------------------


def lengths(options: argparse.Namespace) -> dict[str, float]:
    config = preset("seamless", "--width", str(options.width))
    windows = cut_windows(
        [CLIP_FRAMES] * CLIPS,
        size=config.dataset.window_size,
        stride=config.dataset.window_stride,
        ratios=config.dataset.multi_length_training,
    )
    world = World(rank=0, local_rank=0, world_size=1, device=CPU)
    longest = int(windows.padded.max())
    feeds = {
        "of one length": bucketed(windows),
        "padded, masked": mixed(windows, longest, masked=True),
        "padded": mixed(windows, longest, masked=False),
    }
    trainers = {name: Trainer(config, world) for name in feeds}
    for name, feed in feeds.items():
        for _ in range(WARM):
            trainers[name].step(*next(feed)[:2])
    frames, seconds = dict.fromkeys(feeds, 0), dict.fromkeys(feeds, 0.0)
    ratios: dict[str, list[float]] = {name: [] for name in feeds}
    for _ in range(options.rounds):
        rates = {}
        for name, feed in feeds.items():
            seen, took = 0, 0.0
            for _ in windows_per_ratio(windows):  # as many steps as there are lengths
                x_BTF, mask_BT, there = next(feed)
                took += timed(lambda t=trainers[name], x=x_BTF, m=mask_BT: t.step(x, m))
                seen += there
            rates[name] = seen / took
            frames[name] += seen
            seconds[name] += took
        for name, rate in rates.items():
            ratios[name].append(rates["of one length"] / rate)
    return {
        "mean window": float(windows.length.mean()),
        **{f"{name}, frames/s": frames[name] / seconds[name] for name in feeds},
        **{f"ratio to {name}": statistics.median(ratios[name]) for name in list(feeds)[1:]},
    }


def windows_per_ratio(windows: Windows) -> list[int]:
    return np.unique(windows.padded).tolist()


Fed = tuple[Tensor, Tensor | None, int]


def bucketed(windows: Windows) -> Iterator[Fed]:
    """Batches as training cuts them."""
    for rows in order(windows.padded):
        size = int(windows.padded[rows[0]])
        yield torch.randn(len(rows), size, FEATURES), None, len(rows) * size


def mixed(windows: Windows, longest: int, *, masked: bool) -> Iterator[Fed]:
    """Batches of whatever comes, padded."""
    for rows in order(np.zeros(len(windows))):
        there = torch.from_numpy(windows.length[rows])
        mask_BT = torch.arange(longest) < there[:, None]
        x_BTF = torch.randn(len(rows), longest, FEATURES) * mask_BT[..., None]
        yield x_BTF, mask_BT if masked else None, int(there.sum())


def order(lengths: np.ndarray) -> Iterator[np.ndarray]:
    plan = BatchPlan(lengths=lengths, batch_size=BATCH, world_size=1, seed=0)
    for epoch in range(1000):
        yield from plan.batches(epoch)


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


# --- ranks ----------------------------------------------------------------------------------------


def ranks(options: argparse.Namespace) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        shared = (options.width, 4 * options.rounds, Path(folder))
        others = [context.Process(target=_rank, args=(rank, *shared)) for rank in (0, 1)]
        for process in others:
            process.start()
        for process in others:
            process.join()
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in (0, 1)]
    return {name: max(rank[name] for rank in found) for name in found[0]}


def _rank(rank: int, width: int, steps: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/m", rank=rank, world_size=2)
    world = World(rank=rank, local_rank=rank, world_size=2, device=CPU)
    trainer = Trainer(preset("beat-7x4090", "--width", str(width)), world)
    exchange = Stopwatch(quantizing.all_reduce_sum)
    update = Stopwatch(trainer.bare.quantizer.update_)
    quantizing.all_reduce_sum = exchange
    trainer.bare.quantizer.update_ = update  # type: ignore[method-assign]
    shares: dict[str, list[float]] = {"step_s": [], "exchange": [], "update": []}
    for step in range(WARM + steps):
        x_BTF = torch.randn(BATCH, 64, FEATURES)
        exchange.seconds = update.seconds = 0.0
        took = timed(lambda x=x_BTF: trainer.step(x))
        if step >= WARM:
            shares["step_s"].append(took)
            shares["exchange"].append(exchange.seconds / took)
            shares["update"].append(update.seconds / took)
    medians = {name: statistics.median(values) for name, values in shares.items()}
    (folder / f"{rank}.json").write_text(json.dumps(medians))
    dist.destroy_process_group()


class Stopwatch:
    """A function, and the seconds spent in it."""

    def __init__(self, of: Callable[..., Any]) -> None:
        self.of, self.seconds = of, 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        began = time.perf_counter()
        answer = self.of(*arguments)
        self.seconds += time.perf_counter() - began
        return answer


# --- device ---------------------------------------------------------------------------------------


def device(options: argparse.Namespace) -> dict[str, Any]:
    config = preset("beat-7x4090", "--width", str(options.width))
    if torch.cuda.is_available():
        return on_device(torch.device("cuda", 0), config, 10 * options.rounds)
    config = replace(config, loop=replace(config.loop, batch_size=BATCH))
    return on_device(CPU, config, options.rounds)


def on_device(device: torch.device, config: Config, steps: int) -> dict[str, Any]:
    """Steps per second of each way, and memory of the first."""
    world = World(rank=0, local_rank=0, world_size=1, device=device)
    whole = replace(config.quantizer, quantize_dropout_prob=0.0)
    config = replace(config, quantizer=whole)
    size, frames = config.loop.batch_size, config.dataset.window_size
    batch = torch.randn(size, frames, FEATURES, device=device)
    found: dict[str, Any] = {"device": "CPU", "windows": size}
    ways: list[tuple[torch.dtype | None, bool]] = [(None, False)]
    if device.type == "cuda":
        found["device"] = torch.cuda.get_device_name()
        ways = [(dtype, compiled) for dtype in (None, torch.bfloat16) for compiled in (False, True)]
    copied = copy_ceiling(device)
    for precision, compiled in ways:
        name = f"{'bf16' if precision else 'fp32'}, {'compiled' if compiled else 'eager'}"
        pair = [Trainer(config, world, peer, precision, compiled) for peer in (False, True)]
        turns = [(rate(pair[0], batch, steps), rate(pair[1], batch, steps)) for _ in range(TURNS)]
        ours = statistics.median(one for one, _ in turns)
        trainer = Trainer(config, world, precision=precision)
        for _ in range(WARM):
            trainer.step(batch)
        flops, moved = work(lambda t=trainer: t.step(batch))
        found[name] = {
            "steps/s": ours,
            "peer, steps/s": statistics.median(other for _, other in turns),
            "ratio": statistics.median(one / other for one, other in turns),
            "of the matrix ceiling": ours * flops / matrix_ceiling(device, precision),
            "of the copy ceiling": ours * moved / copied,
        }
    if device.type == "cuda":
        found["memory"] = memory(config, world, batch)
    return found


def rate(trainer: Trainer, batch: Tensor, steps: int) -> float:
    wait = torch.cuda.synchronize if batch.is_cuda else lambda: None
    for _ in range(WARM):
        trainer.step(batch)
    wait()
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step(batch)
    wait()
    return steps / (time.perf_counter() - began)


def memory(config: Config, world: World, batch: Tensor) -> dict[str, float]:
    """Bytes of a step that were allocated, and that the estimate says."""
    trainer = Trainer(config, world)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    held = sum(t.nbytes for t in (*trainer.bare.state_dict().values(), batch))
    for _ in range(WARM):
        trainer.step(batch)
    torch.cuda.synchronize()
    taken = torch.cuda.max_memory_allocated() - before + held
    shapes = Shapes(joints=FEATURES // 3, skeleton=None, windows={batch.shape[1]: False})
    stage = rehearsal(config, shapes)
    said = need(
        lambda: stage(len(batch)), loop=config.loop, optim=config.optim, asked=Question()
    ).peak_bytes
    return {"taken_bytes": taken, "said_bytes": said, "ratio": said / taken}


# --------------------------------------------------------------------------------------------------

PARTS = {"lengths": lengths, "ranks": ranks, "device": device}


def show(part: str, found: dict[str, Any]) -> None:
    print(part)
    for name, value in found.items():
        print(f"  {name:<34} {_in_words(value)}")
    if part == "lengths":
        print(f"  (goal: a ratio of at least {GOALS['lengths']})")
    if part == "ranks":
        print(f"  (goal: exchange under {GOALS['ranks']:.0%} of the step)")


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {one:,.3g}" for name, one in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; several times")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found = {}
    for part in options.part or PARTS:
        found[part] = PARTS[part](options)
        if not options.json:
            show(part, found[part])
    if options.json:
        print(json.dumps({**found, "goals": GOALS}, indent=2))


if __name__ == "__main__":
    main()
