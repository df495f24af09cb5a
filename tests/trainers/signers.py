"""Signers that tests make: poses that wave, small corpora, and a model that has learned nothing."""

from __future__ import annotations

import numpy as np
import torch

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import from_dict
from trainers.engine.prepare import prepare, session
from trainers.signllm.config import Config
from trainers.signllm.data import SignData, Vocabulary, statistics_of
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.sentences.corpus import Corpus, Sentence
from trainers.signllm.signed import Signed
from trainers.signllm.skeleton import COUNT, LEFT_HAND, RIGHT_HAND
from trainers.signllm.writing import write

AT_REST = np.zeros((COUNT, 3), dtype=np.float32)
AT_REST[:8, :2] = [
    (0, -0.6),
    (0, 0),
    (-0.5, 0),
    (-0.7, 0.6),
    (-0.5, 0.2),
    (0.5, 0),
    (0.7, 0.6),
    (0.5, 1.0),
]
for _hand in (LEFT_HAND, RIGHT_HAND):
    _wrist = AT_REST[7 if _hand is LEFT_HAND else 4]
    for _joint in range(21):
        _along, _aside = (_joint + 3) % 4 + 1, (_joint - 1) // 4
        _offset = (0, 0, 0) if _joint == 0 else (0.05 * (_aside - 2), -0.06 * _along, 0.01)
        AT_REST[_hand[_joint]] = _wrist + np.array(_offset, dtype=np.float32)


def waving(frames, seed=0):
    """Poses (T, 150) of a signer who waves the right arm; y downwards."""
    phase = np.random.default_rng(seed).uniform(0, 6)
    poses = np.repeat(AT_REST[None], frames, axis=0)
    moved = 0.2 * np.sin(np.arange(frames) / 4 + phase)
    poses[:, [4, *RIGHT_HAND], 0] += moved[:, None].astype(np.float32)
    return poses.reshape(frames, -1).astype(np.float32)


def corpus(frames=(30, 20, 25), *, languages=("ASL", "DGS"), gloss=True, fps=25.0):
    """As many sentences as there are numbers of frames, in turn of each language."""
    sentences = [
        Sentence(
            name=f"s{row}",
            language=languages[row % len(languages)],
            text=f"sentence {row}",
            gloss=("SENTENCE", f"N{row}") if gloss else None,
            frames=count,
        )
        for row, count in enumerate(frames)
    ]
    return Corpus("made", "dev", sentences, lambda row: waving(frames[row], row), fps=fps)


def small_config(**sections):
    """Settings of a model that computes in milliseconds."""
    model = {"width": 16, "heads": 2, "layers": 1, "gloss_layers": 1, "gloss_slots": 4}
    small = {
        "model": model | sections.pop("model", {}),
        "text": {"text_layers": 1, "max_length": 20},
    }
    small["dataset"] = {"max_frames": 60}
    for name, values in sections.items():
        small[name] = small.get(name, {}) | values
    return from_dict(Config, small, name="signllm", origin="the test")


def untrained(data=None, **sections):
    """A model and its data."""
    config, found = small_config(**sections), data or corpus()
    vocabulary = Vocabulary(languages=found.languages, glosses=found.glosses)
    statistics = statistics_of(found, 0.1)
    torch.manual_seed(0)
    model = SignModel(config, vocabulary, statistics)
    signs = SignData(found, config, vocabulary, statistics, tokenizer(config.text))
    model.frames_per_token.fill_(signs.frames_per_token())
    return model.eval(), signs


def write_data(root, *, splits=("train", "dev"), **given):
    """The same corpus as parallel text files, a folder for each language."""
    found = corpus(**given)
    for language in found.languages:
        signed = [
            Signed(
                text=one.text,
                language=language,
                poses=found.poses(row),
                fps=found.fps,
                gloss=one.gloss,
            )
            for row, one in enumerate(found.sentences)
            if one.language == language
        ]
        for split in splits:
            write(signed, root / language / f"{split}.skels")
    return root


def untrained_run(folder, **sections):
    """A run's folder with a checkpoint of a model that has learned nothing."""
    given = {"out_dir": str(folder)} | sections.pop("run", {})
    sections = {"run": given, "loop": {"total_iter": 1}} | sections
    model, data = untrained(corpus(**sections.pop("corpus", {})), **sections)
    with session(data.config, "signllm") as (world, outputs):
        statistics = {"mean": model.mean.tolist(), "std": model.std.tolist()}
        outputs.attach("vocabulary.json", data.vocabulary.to_dict())
        outputs.attach("statistics.json", {**statistics, "baseline": statistics["mean"]})
        outputs.attach("data.json", {"train": data.corpus.describe()})
        state, _ = prepare(model, data.config, world, lengths=data.frames, load=data.load)
        checkpoint.save(state, outputs, world, keep=1, metrics={}, kept=False)
    return folder
