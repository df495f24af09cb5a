"""Small networks of signllm and sentences for them, made without a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from trainers.engine.config.config import resolve
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.data import SignData, Vocabulary, statistics_of
from trainers.signllm.losses import SignLoss
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.sentences.corpus import Corpus, Sentence

SMALL = "--width 16 --heads 2 --layers 1 --text-layers 1 --gloss-layers 1 --gloss-slots 6"
SENTENCES = (
    ("ASL", "hello", ("HELLO",), 9),
    ("DGS", "guten tag zusammen", ("TAG", "GUT", "ALLE"), 14),
    ("ASL", "good day", ("DAY", "GOOD"), 6),
    ("DGS", "ja", None, 4),
)


def settings(flags: str = "") -> Config:
    """The settings of a small network without dropout, changed by flags."""
    words = f"{SMALL} --dropout 0 --ema-decay none {flags}".split()
    return resolve(Config, words, name="signllm", presets=PRESETS)


def corpus(sentences=SENTENCES, seed: int = 0) -> Corpus:
    """Random poses; the left hand is not seen in the first half of each sentence."""
    rng = np.random.default_rng(seed)
    poses = []
    for *_, frames in sentences:
        pose = rng.standard_normal((frames, 150)).astype(np.float32)
        pose[: frames // 2, 24:87] = np.nan
        poses.append(pose)
    listed = [
        Sentence(name=f"{row:02d}", language=language, text=text, gloss=gloss, frames=frames)
        for row, (language, text, gloss, frames) in enumerate(sentences)
    ]
    return Corpus("made", "train", listed, poses.__getitem__, fps=25.0)


def network(flags: str = "", sentences=SENTENCES) -> tuple[SignModel, SignLoss, SignData]:
    """A network with random weights, its loss and its data."""
    config, given = settings(flags), corpus(sentences)
    vocabulary = Vocabulary(languages=given.languages, glosses=given.glosses)
    statistics = statistics_of(given, 0.1)
    torch.manual_seed(0)
    model = SignModel(config, vocabulary, statistics)
    data = SignData(given, config, vocabulary, statistics, tokenizer(config.text))
    return model, SignLoss(config.loss, model.mean, model.std), data


def load(data: SignData, *rows: int, noisy: bool = True):
    """A training batch of these sentences; each has the same noise in every batch."""
    numbers = np.array(rows)
    return data.load(numbers, (1000 + numbers).astype(np.uint64) if noisy else None)


def only(batch, **parts):
    """The batch with other parts."""
    return replace(batch, **parts)
