"""Time of rvq's training step against the same convolutions around another residual quantizer.

The peer is `vector_quantize_pytorch.ResidualVQ` (pip install 'gpuops[bench]') at the same sizes:
6 codebooks of 1024 codes of 128 values, decay 0.99, dead codes replaced, no dropout of layers on
either side. Both run in this process, one step each in turn, on the same batch; what is compared is
the median. Twice: with the nearest code, and with codes drawn at temperature 0.5.

    python benchmarks/rvq_step.py [--threads 2] [--repeats 8] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch
from rvq_peer import Peer
from torch import Tensor, nn

from trainers.engine.distributed import World
from trainers.rvq.config import LossConfig, ModelConfig, QuantizerConfig
from trainers.rvq.losses import MotionLoss
from trainers.rvq.model import RVQVAE, Reconstruction

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES, BATCH, FRAMES = 156, 32, 64
TOKENS_BATCH, TOKENS = 128, 16
MODEL = ModelConfig(width=512)
CODES = QuantizerConfig(nb_code=1024, num_quantizers=6, quantize_dropout_prob=0.0)
TEMPERATURE = 0.5
AIMS = {"step": 1.0, "quantizer": 0.7}


def peer(temperature: float) -> Peer:
    return Peer(
        MODEL,
        CODES,
        decay=CODES.mu,
        threshold_ema_dead_code=1,
        commitment_weight=1,
        stochastic_sample_codes=temperature > 0,
        sample_codebook_temp=temperature or 1.0,
    )


def training_step(model: RVQVAE, world: World, batch: Tensor) -> Callable[[], None]:
    loss = MotionLoss(LossConfig())
    optimizer = torch.optim.AdamW(model.parameters(), 2e-4, fused=True)

    def step() -> None:
        found: Reconstruction = model(batch)
        loss(found)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.quantizer.update_(world)

    return step


def quantizer_step(quantizer: nn.Module, world: World, latents: Tensor) -> Callable[[], None]:
    def step() -> None:
        quantizer(latents)
        quantizer.update_(world)

    return step


def compare(ours: Callable[[], None], peers: Callable[[], None], repeats: int) -> dict[str, float]:
    """Medians in seconds and their ratio; who goes first alternates."""
    for _ in range(2):
        ours()
        peers()
    seconds: dict[Callable[[], None], list[float]] = {ours: [], peers: []}
    for turn in range(repeats):
        for run in (ours, peers) if turn % 2 else (peers, ours):
            began = time.perf_counter()
            run()
            seconds[run].append(time.perf_counter() - began)
    mine, other = statistics.median(seconds[ours]), statistics.median(seconds[peers])
    return {"ours_s": mine, "peer_s": other, "ratio": mine / other}


def measure(repeats: int) -> dict[str, dict[str, float]]:
    world = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
    found = {}
    for name, temperature in (("nearest", 0.0), ("sampled", TEMPERATURE)):
        torch.manual_seed(0)
        batch = torch.randn(BATCH, FRAMES, FEATURES)
        latents = torch.randn(TOKENS_BATCH, TOKENS, MODEL.code_dim)
        codes = QuantizerConfig(
            nb_code=CODES.nb_code,
            num_quantizers=CODES.num_quantizers,
            quantize_dropout_prob=0.0,
            sample_temperature=temperature,
        )
        ours, peers = (RVQVAE(FEATURES, MODEL, codes) for _ in range(2))
        peers.load_state_dict(ours.state_dict())
        peers.quantizer = peer(temperature)  # type: ignore[assignment]
        steps = (training_step(model, world, batch) for model in (ours, peers))
        found[f"step, {name} codes"] = compare(*steps, repeats)
        alone = RVQVAE(FEATURES, MODEL, codes).quantizer, peer(temperature)
        runs = (quantizer_step(quantizer, world, latents) for quantizer in alone)
        found[f"quantizer, {name} codes"] = compare(*runs, 3 * repeats)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Step time of rvq against its peer.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(given.repeats)
    if given.json:
        sys.stdout.write(json.dumps({"threads": given.threads, **found}) + "\n")
        return
    print(f"torch {torch.__version__}, {given.threads} threads, medians of {given.repeats}")
    for what, figures in found.items():
        aim = AIMS[what.split(",")[0]]
        print(
            f"{what:<26} ours {figures['ours_s']:.3f} s  peer {figures['peer_s']:.3f} s  "
            f"ratio {figures['ratio']:.2f} (aim: at most {aim})"
        )


if __name__ == "__main__":
    main()
