"""Layouts, batches and settings that the tests of layout share."""

from dataclasses import replace

import numpy as np

from trainers.engine.batches import item_seeds
from trainers.layout.config import Config, ModelConfig
from trainers.layout.data import LayoutData
from trainers.layout.layouts.corpus import Corpus
from trainers.layout.layouts.layout import Layout

SMALL = Config(model=ModelConfig(width=16, heads=2, layers=2, dropout=0.0, given=("nothing",)))
FEATURES = 5


def layout(count, seed=0, canvas=(1024, 2048), name="poster"):
    """A layout of so many elements that lie anywhere on a canvas."""
    rng = np.random.default_rng((count, seed))
    size = rng.integers(8, 400, (count, 2))
    corner = rng.integers(0, np.array(canvas) - size + 1)
    return Layout(
        name=name,
        canvas=canvas,
        boxes=np.concatenate([corner, size], axis=1).astype(np.float64),
        order=rng.permutation(count),
        ids=tuple(f"element_{i}" for i in range(count)),
        categories=tuple(rng.choice(["text", "picture", "logo"], count)),
    )


def data(*counts, config=SMALL, looks=False):
    """Layouts of so many elements, as batches; with made-up features of images if it looks."""
    layouts = [layout(n, seed, name=f"poster {seed}") for seed, n in enumerate(counts)]
    corpus = Corpus("made", "train", layouts)
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((n, FEATURES)).astype(np.float32) for n in counts]
    return LayoutData(corpus, config, corpus.categories, features if looks else None)


def batch_of(made, *rows):
    """The layouts of these rows in one batch, with their noise."""
    seeds = item_seeds(0, 0, len(made.corpus))
    return made.load(np.array(rows), seeds[list(rows)])


def config(**model):
    """Settings with another network."""
    return replace(SMALL, model=replace(SMALL.model, **model))
