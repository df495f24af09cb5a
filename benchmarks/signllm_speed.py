"""How fast signllm trains and signs, beside the least that such a network can cost.

    python benchmarks/signllm_speed.py [--frames 128] [--batch 8] [--width 256] [--rounds 7]
        [--json]

- step: a training step (forward, loss, backward) of signllm's default network, beside a bare
  `nn.TransformerDecoder` of the same layers, width and heads over the same text encoder, teacher
  forced with a causal mask, with the distance of the poses for its loss; and beside the same
  decoder as the public SignLLM runs it, decoding all frames again for each new one (2 sentences).
- generation: a text to 250 frames (10 s), one sentence at a time.

One thread; in turns, a step of each in every round; medians. A ratio below 1 is in our favour.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from trainers.engine.config.config import resolve
from trainers.engine.statistics import Statistics
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.data import Prompts, SignBatch, Vocabulary
from trainers.signllm.losses import SignLoss
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import ByteEncoder, decoder_layers, sinusoids
from trainers.signllm.skeleton import COUNT, VALUES

TOKENS = 48
PUBLIC_BATCH = 2
SECONDS, FPS = 10, 25
GOALS = {"step / bare": 1.1, "step / re-decoding": 0.05, "generation, s": 0.2}


class Bare(nn.Module):
    """Text encoder and decoder, and nothing else."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.width = model.width
        self.text = ByteEncoder(config.text, model)
        self.inward = nn.Linear(VALUES, model.width)
        self.layers = decoder_layers(model, model.layers)
        self.outward = nn.Linear(model.width, VALUES)

    def forward(self, batch: SignBatch, before: Tensor) -> Tensor:
        """Give each frame from those before it, (B, T, V)."""
        places = torch.arange(before.shape[1])
        return self.outward(
            self.layers(
                self.inward(before) + sinusoids(places, self.width),
                self.text(batch.prompts),
                tgt_mask=places[None, :] > places[:, None],
                tgt_is_causal=True,
                memory_key_padding_mask=~batch.prompts.text_mask,
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = measured(given)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        goal = f"   goal {GOALS[name]:g}" if name in GOALS else ""
        print(f"{name:34}{value:10.3f}{goal}")


def measured(given: argparse.Namespace) -> dict[str, float]:
    """Each figure by name."""
    config = resolve(Config, ["--width", str(given.width)], name="signllm", presets=PRESETS)
    vocabulary = Vocabulary(languages=("ASL", "DGS"), glosses=("HELLO",))
    flat = np.zeros(VALUES, dtype=np.float32)
    model = SignModel(config, vocabulary, Statistics(mean=flat, std=flat + 1, baseline=flat))
    loss, bare = SignLoss(config.loss, model.mean, model.std), Bare(config)
    batch, small = made(given.batch, given.frames), made(PUBLIC_BATCH, given.frames)

    def ours(of: SignBatch) -> Callable[[], Tensor]:
        return lambda: loss(model(of), of)["loss"]

    def forced(of: SignBatch) -> Callable[[], Tensor]:
        return lambda: (bare(of, of.poses) - of.poses).abs().mean()

    def again() -> Tensor:
        poses = torch.zeros(PUBLIC_BATCH, 1, VALUES)
        for _ in range(given.frames):
            poses = torch.cat([poses, bare(small, poses)[:, -1:]], dim=1)
        return (poses[:, 1:] - small.poses).abs().mean()

    steps = in_turns(
        given.rounds, {"ours": ours(batch), "bare": forced(batch), "small": ours(small)}
    )
    loop = in_turns(1, {"again": again})
    model.eval()
    sentence, frames = made(1, 2).prompts, torch.tensor([SECONDS * FPS])
    waits = []
    for _ in range(given.rounds + 1):
        begun = time.perf_counter()
        model.generate(sentence, frames)
        waits.append(time.perf_counter() - begun)
    return {
        "parameters, M": sum(p.numel() for p in model.parameters()) / 1e6,
        "step, s": steps["ours"],
        "bare decoder's step, s": steps["bare"],
        "step / bare": steps["ours"] / steps["bare"],
        f"step of {PUBLIC_BATCH} sentences, s": steps["small"],
        f"re-decoding step of {PUBLIC_BATCH}, s": loop["again"],
        "step / re-decoding": steps["small"] / loop["again"],
        "generation, s": statistics.median(waits[1:]),
    }


def in_turns(rounds: int, steps: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Median CPU seconds of each step, forward and backward; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            begun = time.process_time()
            step().backward()
            times[name].append(time.process_time() - begun)
    return {name: statistics.median(values[1:] or values) for name, values in times.items()}


def made(size: int, frames: int) -> SignBatch:
    """Sentences of random poses, all of one length."""
    return SignBatch(
        prompts=Prompts(
            tokens=torch.randint(1, 257, (size, TOKENS)),
            text_mask=torch.ones(size, TOKENS, dtype=torch.bool),
            language=torch.arange(size) % 2,
            languages=tuple(row % 2 for row in range(size)),
        ),
        gloss=torch.zeros(size, 1, dtype=torch.long),
        poses=torch.randn(size, frames, VALUES),
        seen=torch.ones(size, frames, COUNT, dtype=torch.bool),
        frames=torch.full((size,), frames),
    )


if __name__ == "__main__":
    main()
