"""What a training step is said to need, against what the same step takes when it is run.

On a CPU the peer is the account of torch's allocator (its profiler's memory events); on a GPU it
is `torch.cuda.max_memory_allocated`, and what the allocator reserved and the device gave out beyond
that stands beside it: the margin called "context and workspace". Each case runs in a process of
its own, three steps of the real loop on random motion.

    python benchmarks/estimate.py [--json]
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.config import resolve
from trainers.engine.distributed import World
from trainers.engine.loop import fit
from trainers.engine.memory.rehearsal import Question, need
from trainers.engine.optim import build_ema, build_optimizer, build_scaler, build_schedule
from trainers.engine.outputs import open_outputs
from trainers.engine.statistics import Statistics
from trainers.motion.smplh import smplh_skeleton
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import MotionBatch
from trainers.rvq.estimate import Shapes, rehearsal
from trainers.rvq.losses import build_loss
from trainers.rvq.model import build_model

MIB = 1 << 20
LIMIT = 0.1
PADDED = "--max-samples 1"  # stands for clips that are shorter than their windows
DEMO = "--preset demo"
SMALL = [
    f"{DEMO}",
    f"{DEMO} --batch-size 64",
    f"{DEMO} --window-size 96 --depth 3",
    f"{DEMO} --dropout 0.2",
    f"{DEMO} --width 256",
    f"{DEMO} --width 256 --gradient-checkpointing",
    f"{DEMO} --width 256 --mixed-precision bf16",
    f"{DEMO} --width 256 --mixed-precision bf16 --gradient-checkpointing",
    f"{DEMO} --ema-decay 0.99 --accumulate 2",
    f"{DEMO} --rotation 6d --loss-joints 1",
    f"{DEMO} {PADDED}",
    f"{DEMO} {PADDED} --width 256",
]
MIDDLE = [
    "--batch-size 16",
    "--batch-size 32 --window-size 128",
    "--batch-size 64 --window-size 128 --gradient-checkpointing",
    "--batch-size 64 --window-size 128 --mixed-precision bf16",
]
LARGE = [  # for a GPU, where small ones drown in the workspace of the libraries
    "--preset beat-7x4090",
    "--preset seamless",
    "--preset seamless --batch-size 1024",
    "--preset seamless --batch-size 1024 --mixed-precision",
    "--preset seamless --batch-size 1024 --gradient-checkpointing",
    "--preset large",
]


class Feed:
    """Random motion of one shape."""

    per_epoch = 100

    def __init__(self, config: Config, shapes: Shapes) -> None:
        frames, self.padded = next(iter(shapes.windows.items()))
        features = shapes.features(config.dataset)
        self.shape = (config.loop.batch_size, frames, features)

    def stream(  # noqa: D102
        self, _epoch: int, _start: int
    ) -> Iterator[tuple[MotionBatch, float]]:
        while True:
            mask = torch.ones(self.shape[:2], dtype=torch.bool) if self.padded else None
            yield MotionBatch(features=torch.randn(self.shape), mask=mask), 1.0


def shapes_of(config: Config) -> Shapes:
    skeleton = smplh_skeleton()
    ratio = max(config.dataset.multi_length_training)
    frames = int(config.dataset.window_size * ratio)
    padded = config.dataset.max_samples is not None
    return Shapes(joints=len(skeleton), skeleton=skeleton, windows={frames: padded})


def steps(config: Config, shapes: Shapes, device: torch.device, folder: Path) -> None:
    """Three steps of the loop, as `train` takes them."""
    world = World(rank=0, local_rank=0, world_size=1, device=device)
    flat = np.zeros(shapes.features(config.dataset), dtype=np.float32)
    statistics = Statistics(mean=flat, std=flat + 1, baseline=flat)
    model = build_model(config, statistics).to(device)
    loss = build_loss(config.loss, model, shapes).to(device)
    optimizer = build_optimizer(model, config.optim, samples_per_step=1)
    state = TrainState(
        model=model,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.optim, 3),
        scaler=build_scaler(config.loop, device),
        ema=build_ema(model, config.optim),
    )
    with open_outputs(folder, world, trainer="rvq", config={}) as outputs:
        fit(
            state,
            Feed(config, shapes),
            lambda model, batch: loss(model(batch.features, batch.mask), batch.mask),
            config=replace(config.loop, total_iter=3, print_iter=100),
            grad_clip=config.optim.grad_clip,
            world=world,
            outputs=outputs,
            after_step=lambda _step: model.quantizer.update_(world),
        )


def on_cpu(run: Any) -> dict[str, int]:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return {"taken_bytes": peak}


def on_gpu(run: Any) -> dict[str, int]:
    torch.cuda.init()
    run()
    torch.cuda.synchronize()
    reserved = torch.cuda.max_memory_reserved()
    free, total = torch.cuda.mem_get_info()
    return {
        "taken_bytes": torch.cuda.max_memory_allocated(),
        "reserved_bytes": reserved,
        "beyond_bytes": total - free - torch.cuda.memory_reserved(),
    }


def case(flags: str) -> dict[str, Any]:
    """Said and taken, in this process."""
    # All layers, in the rehearsal and in the run: which a step leaves out is drawn.
    words = [*shlex.split(flags), "--quantize-dropout-prob", "0"]
    config = resolve(Config, words, name="rvq", presets=PRESETS)
    shapes = shapes_of(config)
    gpu = torch.cuda.is_available()
    stage = rehearsal(config, shapes)
    said = need(
        lambda: stage(config.loop.batch_size),
        loop=config.loop,
        optim=config.optim,
        asked=Question(on_gpu=gpu),
    )
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    measure = on_gpu if gpu else on_cpu
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(lambda: steps(config, shapes, device, Path(folder)))
    return {
        "flags": flags,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "said_bytes": said.peak_bytes,
        "rounding_bytes": said.rounding_bytes,
        **taken,
        "ratio": round(said.peak_bytes / taken["taken_bytes"], 4),
    }


def main() -> None:
    """Print the figures; exit code 1 where one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    parser.add_argument("--case", help="one case, as JSON")
    options = parser.parse_args()
    if options.case is not None:
        print("\n" + json.dumps(case(options.case)))
        return
    rows = []
    small, large = ([], LARGE) if torch.cuda.is_available() else (SMALL, [])
    for flags in [*small, *MIDDLE, *large]:
        command = [sys.executable, __file__, "--case", flags]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(ran.stdout.splitlines()[-1]))
        if not options.json:
            show(rows[-1])
    ratios = [row["ratio"] for row in rows]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"said / taken: {min(ratios):.3f} to {max(ratios):.3f} (within {LIMIT:.0%})")
    sys.exit(any(abs(ratio - 1) > LIMIT for ratio in ratios))


def show(row: dict[str, Any]) -> None:
    beside = "".join(
        f"  {name} {row[f'{name}_bytes'] / MIB:,.0f} MiB"
        for name in ("reserved", "beyond")
        if f"{name}_bytes" in row
    )
    print(
        f"{row['ratio']:.3f}  said {row['said_bytes'] / MIB:>8,.1f} MiB  "
        f"taken {row['taken_bytes'] / MIB:>8,.1f} MiB{beside}  {row['flags']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
