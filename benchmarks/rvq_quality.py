"""How well rvq codes motion, beside the same network around another residual quantizer.

    python benchmarks/rvq_quality.py datasets/mocap [--seeds 3] [--steps 3200] [--json]

The data set is one that `gpuops data import` has made, with a skeleton. Four trainings for each
seed, two at a time, with a thread each:

- rvq: by the preset `mocap`;
- peer: the same with `vector_quantize_pytorch.ResidualVQ` in the place of the quantizer, and
  nothing else changed: data, windows, their variation, network, first weights, loss, optimizer,
  schedule. Its codebooks decay as ours do, and codes die as seldom: its best of what was tried;
- none: the same with nothing in that place: what no quantizer can be expected to improve upon;
- plain peer: its own defaults, and without what gpuops has for small data: windows are neither
  mirrored nor blended, joints are not in the loss. 2,100 steps.

Scored is what stands at the end, on whole clips of the validation split by `trainers.rvq.score`.
Codebook usage is the share of a layer's codes that occur among the tokens of the training windows
(each once, varied as in training), of the training clips, and of the validation clips. With few
tokens it cannot be whole: "even" is what codes drawn evenly at random would reach.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from rvq_peer import NAME, Peer
from torch import Tensor, nn

from trainers.engine.batches import item_seeds
from trainers.engine.config.config import resolve
from trainers.engine.distributed import World
from trainers.engine.statistics import Statistics
from trainers.rvq import train as training
from trainers.rvq.config import PRESETS, Config, ModelConfig, QuantizerConfig
from trainers.rvq.data import MotionBatch, MotionData, as_they_are, open_data, statistics_of
from trainers.rvq.losses import build_loss
from trainers.rvq.model import RVQVAE, build_model
from trainers.rvq.quantizer import DROPPED, Quantized
from trainers.rvq.score import score

ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
PLAIN_STEPS = 2100
PLAIN = "--mirror False --blend 0 --loss-joints 0"
AT_ONCE = 64  # windows
GOALS = {"mpjpe / peer": 0.8, "usage": 0.9}
FAIR = {"decay": 0.99, "threshold_ema_dead_code": 0.0625}


class Nothing(nn.Module):
    """Passes latents on."""

    def __init__(self, _model: ModelConfig, codes: QuantizerConfig) -> None:
        super().__init__()
        self.num_quantizers, self.nb_code = codes.num_quantizers, codes.nb_code

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Quantized:
        """As they are."""
        codes = torch.zeros((*x_BND.shape[:2], self.num_quantizers), dtype=torch.long)
        codes = codes if mask_BN is None else codes.masked_fill(~mask_BN[..., None], DROPPED)
        zero = x_BND.new_zeros(())
        return Quantized(latents=x_BND, codes=codes, commitment=zero, perplexity=zero)

    def update_(self, _world: World) -> None:
        """Learn nothing."""

    def dead_codes(self) -> list[int]:
        """None of them."""
        return [0] * self.num_quantizers


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the trainings that are compared."""

    quantizer: Callable[[ModelConfig, QuantizerConfig], nn.Module] | None = None
    """What takes the place of ours."""
    flags: str = ""


KINDS = {
    "rvq": Kind(),
    "peer": Kind(quantizer=partial(Peer, **FAIR)),
    "none": Kind(quantizer=Nothing),
    "plain peer": Kind(quantizer=Peer, flags=PLAIN),
}


def run(name: str, seed: int, data: str, steps: int) -> dict[str, Any]:
    """Train, and score what stands at the end; in a process of its own."""
    torch.set_num_threads(1)
    kind = KINDS[name]
    built: list[RVQVAE] = []

    def build(config: Config, statistics: Statistics) -> RVQVAE:
        model = build_model(config, statistics)
        if kind.quantizer is not None:
            model.quantizer = kind.quantizer(config.model, config.quantizer)  # type: ignore[assignment]
        built.append(model)
        return model

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        every = f"--total-iter {steps} --eval-iter {steps} --save-iter {steps} --print-iter {steps}"
        words = f"--preset mocap {every} --seed {seed} {kind.flags}".split()
        words += ["--data", data, "--out-dir", folder]
        config = resolve(Config, words, name="rvq", presets=PRESETS)
        training.build_model = build
        began = time.process_time()
        training.train(config)
        seconds = time.process_time() - began
    return {**figures(config, built[0].eval()), "cpu_s": seconds}


@torch.no_grad()
def figures(config: Config, model: RVQVAE) -> dict[str, Any]:
    """Errors of the validation clips, and which codes occur where."""
    train, val = open_data(config.dataset, "train"), open_data(as_they_are(config.dataset), "val")
    mean_pose = torch.from_numpy(statistics_of(train, config.dataset).baseline)
    found = score(model, val, build_loss(config.loss, model, train), mean_pose, ALONE)
    used = {
        "windows": usage(model, windows(train, config.run.seed)),
        "train": usage(model, clips(train)),
        "val": usage(model, clips(val)),
    }
    return {
        "mpjpe": found.mpjpe,
        "mean_pose": found.mpjpe_mean_pose,
        "dead": found.dead_codes,
        "usage": {name: share for name, (share, _tokens) in used.items()},
        "tokens": {name: tokens for name, (_share, tokens) in used.items()},
    }


def windows(data: MotionData, seed: int) -> list[MotionBatch]:
    """Each training window once, as an epoch varies them."""
    seeds = item_seeds(seed, 0, len(data.windows))
    order = np.arange(len(data.windows))
    return [data.load(rows, seeds[rows]) for rows in np.array_split(order, len(order) // AT_ONCE)]


def clips(data: MotionData) -> list[MotionBatch]:
    return [data.clips(np.array([row])) for row in range(len(data.source.names))]


def usage(model: RVQVAE, batches: list[MotionBatch]) -> tuple[list[float], int]:
    """The share of each layer's codes that occur, and the tokens that were looked at."""
    codes_MQ = torch.cat(
        [model(batch.features, batch.mask).quantized.codes.flatten(0, 1) for batch in batches]
    )
    codes_MQ = codes_MQ[codes_MQ[:, 0] != DROPPED]
    return [len(layer.unique()) / model.quantizer.nb_code for layer in codes_MQ.T], len(codes_MQ)


def even(tokens: int, codes: int) -> float:
    """The share of codes that so many tokens take where each draws one evenly at random."""
    return 1 - (1 - 1 / codes) ** tokens


def measure(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """All runs; those of one seed beside each other."""
    steps = dict.fromkeys(KINDS, options.steps) | {"plain peer": options.plain_steps}
    todo = [(name, seed) for seed in range(options.seeds) for name in KINDS]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        runs = {
            pool.submit(run, name, seed, options.data, steps[name]): (name, seed)
            for name, seed in todo
        }
        found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in KINDS}
        for future in as_completed(runs):
            name, seed = runs[future]
            found[name][seed] = one = future.result()
            print(
                f"{name}, seed {seed}: MPJPE {one['mpjpe']:.3f}, usage of the windows "
                f"{min(one['usage']['windows']):.2f}, {one['cpu_s']:.0f} s CPU",
                file=sys.stderr,
                flush=True,
            )
    return {name: [by_seed[seed] for seed in sorted(by_seed)] for name, by_seed in found.items()}


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over seeds."""
    rows = {}
    for name, runs in found.items():
        shares = {
            where: [
                statistics.median(layer)
                for layer in zip(*(one["usage"][where] for one in runs), strict=True)
            ]
            for where in runs[0]["usage"]
        }
        rows[name] = {
            "mpjpe": statistics.median(one["mpjpe"] for one in runs),
            "mpjpe_of_seeds": [one["mpjpe"] for one in runs],
            "usage": shares,
            "cpu_s": statistics.median(one["cpu_s"] for one in runs),
        }
    mine = rows["rvq"]["mpjpe"]
    ratios = {f"rvq / {name}": mine / row["mpjpe"] for name, row in rows.items() if name != "rvq"}
    return {"medians": rows, "ratios": ratios}


def show(said: dict[str, Any], one: dict[str, Any], codes: int, seconds: float) -> None:
    print(
        f"torch {torch.__version__}, {NAME} {version(NAME)}; medians of "
        f"{len(said['medians']['rvq']['mpjpe_of_seeds'])} seeds, {seconds / 60:.1f} min in all"
    )
    print(f"mean pose of the training clips  MPJPE {one['mean_pose']:.3f}")
    for name, row in said["medians"].items():
        seeds = " ".join(f"{value:.3f}" for value in row["mpjpe_of_seeds"])
        print(f"{name:<12} MPJPE {row['mpjpe']:.3f}  ({seeds})  {row['cpu_s']:.0f} s CPU")
    for name, ratio in said["ratios"].items():
        goal = f"  (goal <= {GOALS['mpjpe / peer']})" if "peer" in name else ""
        print(f"{name:<20} {ratio:.2f}{goal}")
    for where, tokens in one["tokens"].items():
        share = even(tokens, codes)
        print(f"usage, {where}: {tokens:,} tokens, {codes:,} codes a layer; even: {share:.2f}")
        for name in ("rvq", "peer", "plain peer"):
            row = said["medians"][name]
            layers = " ".join(f"{layer:.2f}" for layer in row["usage"][where])
            print(f"  {name:<12} {layers}  (goal >= {GOALS['usage']} where the data allows it)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of a data set with a skeleton")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--plain-steps", type=int, default=PLAIN_STEPS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    found = measure(options)
    said = summary(found)
    seconds = time.perf_counter() - began
    if options.json:
        print(json.dumps({**said, "runs": found, "goals": GOALS, "seconds": seconds}, indent=2))
        return
    codes = resolve(Config, ["--preset", "mocap"], name="rvq", presets=PRESETS).quantizer.nb_code
    show(said, found["rvq"][0], codes, seconds)


if __name__ == "__main__":
    main()
