"""How fast layout trains, beside the least that such a network can cost.

    python benchmarks/layout_speed.py [--public FOLDER] [--elements 25] [--batch 32] [--width 512]
        [--layers 12] [--step-batch 8] [--rounds 6] [--json]

- loss: the loss of a batch with its gradient, beside that of the public LayoutMaster, whose
  `loss_functions.py` lies in FOLDER (github.com/JiazheWei/LayoutMaster; loops over pairs).
- loss in step: its share of a whole training step.
- step: forward, loss, backward and AdamW, beside `torch.nn.TransformerDecoder` of the same width,
  heads and layers over as many elements, with the distance alone for its loss.
- features: those of a batch's images from the cache, beside computing them from the PNGs.

One thread; in turns, one of each in every round; medians. A ratio below 1 is in our favour.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from trainers.engine.config.config import resolve
from trainers.engine.distributed import World
from trainers.engine.feature_cache import Encoding, cached_features, checksum
from trainers.engine.samples import Listing
from trainers.layout.config import PRESETS, Config
from trainers.layout.data import Elements, LayoutBatch
from trainers.layout.losses import LayoutLoss
from trainers.layout.model.denoiser import Denoiser
from trainers.layout.model.visual import SmallCnn
from trainers.layout.noise import Noise

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES = 67
GOALS = {"loss / public": 0.05, "loss / step": 0.1, "step / bare": 1.05, "cache / PNGs": 0.05}
ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


class AnyNoise(Noise):
    """As much of it as the time says."""

    def kept(self, time_B: Tensor) -> Tensor:
        """Return 1 at time 0, and 0.1 at time 1."""
        return 1 - 0.9 * time_B


class Bare(nn.Module):
    """A decoder over the elements, and nothing else."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.state, self.look = nn.Linear(6, model.width), nn.Linear(FEATURES, model.width)
        layer = nn.TransformerDecoderLayer(
            model.width,
            model.heads,
            int(model.width * model.feedforward),
            model.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerDecoder(layer, model.layers)
        self.head = nn.Linear(model.width, 6)

    def forward(self, noisy: Tensor, _time: Tensor, elements: Elements) -> Tensor:
        """Give the places (B, N, 6)."""
        found: Tensor = self.head(
            self.layers(
                self.state(noisy),
                self.look(elements.features),
                tgt_key_padding_mask=~elements.mask,
                memory_key_padding_mask=~elements.mask,
            )
        )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--public", type=Path, help="folder of LayoutMaster's loss_functions.py")
    parser.add_argument("--elements", type=int, default=25)
    parser.add_argument("--batch", type=int, default=32, help="of the loss")
    parser.add_argument("--step-batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {**_losses(given), **_steps(given), **_features(given)}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{given.rounds} rounds, one thread, torch {torch.__version__}")
    for name, value in found.items():
        goal = GOALS.get(name)
        print(f"{name:<16} {value:>10.4g}" + ("" if goal is None else f"   goal {goal:g}"))


def _losses(given: argparse.Namespace) -> dict[str, float]:
    config = resolve(Config, [], name="layout", presets=PRESETS)
    loss = LayoutLoss(config.loss, AnyNoise(config.diffusion))
    batch = _batch(given.batch, given.elements)

    def ours() -> None:
        found = batch.noise.clone().requires_grad_()
        loss.step(lambda *_: found, batch)["loss"].backward()  # type: ignore[arg-type]

    runs = {"ours": ours}
    if given.public is not None:
        sys.path.insert(0, str(given.public))
        from loss_functions import LayoutDiffusionLoss

        public = LayoutDiffusionLoss()
        mask = batch.elements.mask

        def theirs() -> None:
            found = batch.noise.clone().requires_grad_()
            layouts = [(x / 2 + 0.5) * 1024 for x in (found, batch.state)]
            public(found, batch.noise, *layouts, mask)[0].backward()

        runs["theirs"] = theirs
    took = _medians(runs, given.rounds)
    found = {"loss, s": took["ours"]}
    if "theirs" in took:
        found["loss / public"] = took["ours"] / took["theirs"]
    return found


def _steps(given: argparse.Namespace) -> dict[str, float]:
    size = f"--width {given.width} --layers {given.layers}"
    config = resolve(Config, size.split(), name="layout", presets=PRESETS)
    loss = LayoutLoss(config.loss, AnyNoise(config.diffusion))
    batch = _batch(given.step_batch, given.elements)

    def step_of(net: nn.Module, losses: Callable[..., Tensor]) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            losses(net).backward()
            optimizer.step()

        return step

    def distance(net: nn.Module) -> Tensor:
        noisy = loss.noise.add_noise(batch.state, batch.noise, loss.noise.kept(batch.time))
        apart: Tensor = net(noisy, batch.time, batch.elements) - batch.state
        return apart.abs().mean()

    answer = batch.noise.clone().requires_grad_()

    def loss_alone() -> None:
        loss.step(lambda *_: answer, batch)["loss"].backward()  # type: ignore[arg-type]

    took = _medians(
        {
            "ours": step_of(
                Denoiser(config.model, 0, FEATURES), lambda n: loss.step(n, batch)["loss"]
            ),
            "bare": step_of(Bare(config), distance),
            "loss": loss_alone,
        },
        given.rounds,
    )
    return {
        "step, s": took["ours"],
        "step / bare": took["ours"] / took["bare"],
        "loss / step": took["loss"] / took["ours"],
    }


def _features(given: argparse.Namespace) -> dict[str, float]:
    config = resolve(Config, [], name="layout", presets=PRESETS)
    cnn = SmallCnn(config.visual)
    rng = np.random.default_rng(0)
    posters = 8
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            [Path(folder) / f"{poster}-{i}.png" for i in range(given.elements)]
            for poster in range(posters)
        ]
        for path in (path for poster in paths for path in poster):
            small = Image.fromarray(rng.integers(0, 256, (30, 40, 4), dtype=np.uint8))
            small.resize((400, 300)).save(path)

        def encode(poster: int) -> Any:
            return cnn.encode([np.asarray(Image.open(path)) for path in paths[poster]])

        listing = Listing(
            data=folder,
            split="train",
            names=tuple(map(str, range(posters))),
            lengths=np.full(posters, given.elements),
        )
        encoding = Encoding(encoder="cnn", weights=checksum(cnn))
        cached = cached_features(Path(folder) / "f.npz", encoding, listing, encode, ALONE)
        took = _medians(
            {
                "cache": lambda: [np.array(cached[i]) for i in range(posters)],
                "PNGs": lambda: [encode(i) for i in range(posters)],
            },
            given.rounds,
        )
    return {"cache / PNGs": took["cache"] / took["PNGs"]}


def _batch(size: int, count: int) -> LayoutBatch:
    shape = size, count, 6
    return LayoutBatch(
        elements=Elements(
            mask=torch.ones(shape[:2], dtype=torch.bool),
            category=torch.zeros(shape[:2], dtype=torch.long),
            features=torch.randn(size, count, FEATURES),
            given=torch.zeros(shape, dtype=torch.bool),
            known=torch.zeros(shape),
            aspect=torch.zeros(size),
        ),
        state=torch.rand(shape) * 2 - 1,
        noise=torch.randn(shape),
        time=torch.rand(size),
    )


def _medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, all run once in every round."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            if number:  # the first warms up
                took[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


if __name__ == "__main__":
    main()
