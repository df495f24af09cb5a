"""What training is said to need, against what torch's allocator gave out while it ran."""

from __future__ import annotations

import numpy as np
import pytest
from allocated import peak_bytes

from trainers.engine.config.config import resolve
from trainers.engine.memory.rehearsal import Question, need
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.estimate import data_shapes, estimate, rehearsal
from trainers.signllm.train import train

ON_CPU = Question(on_gpu=False)
SMALL = """
    --preset demo --heads 2 --layers 2 --batch-size 16 --total-iter 3 --eval-iter 3 --save-iter 3
"""


def settings(root, out, flags=""):
    words = f"{SMALL} --data {root} --out-dir {out} {flags}".split()
    return resolve(Config, words, name="signllm", presets=PRESETS)


@pytest.fixture(name="root")
def _root(tmp_path):
    """Sentences of one length, with texts of one length."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 2)):
        for number in range(count):
            folder = tmp_path / "data" / "ASL" / split / f"{number:02d}"
            folder.mkdir(parents=True)
            np.save(folder / "pose.npy", rng.standard_normal((96, 150)).astype(np.float32))
            (folder / "text.txt").write_text(f"sentence {number:02d} of {split:5}\n")
            (folder / "gloss.txt").write_text(f"SENTENCE NUMBER-{number}\n")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--mode prompt2langgloss --gloss-slots 8 --timing-slack 8",
        pytest.param(
            "--decoding autoregressive --max-frames 96 --gradient-checkpointing",
            marks=pytest.mark.long,
        ),
        pytest.param("--decoder per-language --mixed-precision bf16", marks=pytest.mark.long),
    ],
)
def test_training_takes_what_it_is_said_to(root, tmp_path, flags):
    """The whole of `train`."""
    config = settings(root, tmp_path / "run", flags)
    stage = rehearsal(config, data_shapes(config.dataset))
    said = need(
        lambda: stage(config.loop.batch_size), loop=config.loop, optim=config.optim, asked=ON_CPU
    )

    real = peak_bytes(lambda: train(config))

    # Batches come from numpy, whose memory is not torch's.
    assert real == pytest.approx(said.peak_bytes - said.parts["batch"], rel=0.02)


def test_longer_sentences_and_more_of_them_take_more(root, tmp_path):
    """The answer names what it is for."""
    config = settings(root, tmp_path / "run")
    said = estimate(config, ON_CPU)
    assert said["batch"] == "16 sentences of 96 frames and 20 tokens"
    needs = {one["size"]: one["peak_bytes"] for one in said["needs"]}
    assert needs[32] > 1.5 * needs[16]
