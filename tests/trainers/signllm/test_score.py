"""The figures of an evaluation: what they are, and that batches and ranks do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_data import ALONE

import trainers.signllm.score as scoring
from trainers.engine import metrics
from trainers.engine.config.config import from_dict
from trainers.signllm.config import Config
from trainers.signllm.data import SignData, Vocabulary, statistics_of
from trainers.signllm.losses import SignLoss
from trainers.signllm.metrics.dtw import dtw
from trainers.signllm.model.model import Generated, SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.score import Figures, measure, score
from trainers.signllm.sentences.corpus import Corpus, Sentence

FRAMES = (30, 9, 41, 12, 33)


def made_corpus(frames=FRAMES):
    """Random poses in two languages, some joints unseen; the last sentence has no gloss."""
    rng = np.random.default_rng(0)
    poses = [rng.normal(size=(count, 150)) for count in frames]
    for pose in poses:
        pose[: len(pose) // 2, 30:60] = np.nan
    sentences = [
        Sentence(
            name=str(row),
            language=("ASL", "DGS")[row % 2],
            text=f"sentence {row}",
            gloss=None if row == len(frames) - 1 else ("SENTENCE", f"N{row}"),
            frames=count,
        )
        for row, count in enumerate(frames)
    ]
    return Corpus("made", "val", sentences, poses.__getitem__, fps=25.0)


def opened(corpus, **model):
    """A small model and its data."""
    given = {"width": 16, "heads": 2, "layers": 1, "gloss_layers": 1, "gloss_slots": 4, **model}
    sections = {"model": given, "text": {"text_layers": 1}, "dataset": {"max_frames": 60}}
    config = from_dict(Config, sections, name="signllm", origin="the test")
    vocabulary = Vocabulary(languages=corpus.languages, glosses=corpus.glosses)
    statistics = statistics_of(corpus, 0.1)
    model = SignModel(config, vocabulary, statistics).eval()
    model.frames_per_token.fill_(2.0)
    return model, SignData(corpus, config, vocabulary, statistics, tokenizer(config.text))


def loss_of(model, data):
    return SignLoss(data.config.loss, model.mean, model.std)


@pytest.fixture(name="glossed")
def _glossed():
    """A model that gives glosses, its data and its loss."""
    model, data = opened(made_corpus(), mode="prompt2langgloss")
    return model, data, loss_of(model, data)


def test_the_truth_itself_has_no_error(monkeypatch):
    """Zero distance, all of the motion, the right length; nothing of glosses that are not made."""
    corpus = made_corpus()
    model, data = opened(corpus)
    batches = []
    monkeypatch.setattr(
        data, "load", lambda rows: batches.append(rows) or SignData.load(data, rows)
    )

    def truth(_prompts):
        batch = SignData.load(data, batches[-1])
        return Generated(poses=batch.poses, frames=batch.frames, gloss=None)

    monkeypatch.setattr(model, "generate", truth)
    found = score(model, data, ALONE).summary()
    assert found["dtw"] == pytest.approx(0, abs=1e-3)
    assert found["pose_similarity"] == pytest.approx(1, abs=1e-5)
    assert found["length_error"] == 0
    assert found["motion"] > 0.9
    assert "gloss_wer" not in found
    assert "loss" not in found


def test_figures_are_means_over_sentences(glossed):
    """Each sentence counts once, in the figures of its language and in those of all."""
    model, data, _ = glossed
    kept = {}
    found = score(model, data, ALONE, keep=kept)
    assert sorted(kept) == [0, 1, 2, 3, 4]
    distances = [dtw(kept[row].poses, data.corpus.poses(row)) for row in range(5)]
    assert found.overall.dtw == pytest.approx(np.mean(distances))
    assert found.languages["DGS"].dtw == pytest.approx(np.mean(distances[1::2]))
    assert found.overall.dtw_per_value == found.overall.dtw / 150
    assert (found.overall.sentences, found.overall.frames) == (5, sum(FRAMES))
    assert [one.sentences for one in found.languages.values()] == [3, 2]
    assert 0 < found.overall.gloss_wer


def test_standing_still_does_not_move():
    """What DTW alone would not say."""
    truth = made_corpus().poses(0)
    figures = Figures.from_sums(measure(np.zeros((30, 150)), truth))
    assert (figures.motion, figures.motion_smoothness, figures.length_error) == (0, 1, 0)


def test_a_sentence_of_which_nothing_was_seen_counts_in_its_length_alone():
    """Not as a perfect one."""
    unseen = measure(np.zeros((4, 150)), np.full((8, 150), np.nan))
    seen = measure(np.zeros((8, 150)), np.ones((8, 150)))
    figures = Figures.from_sums(unseen + seen)
    assert figures.dtw == pytest.approx(150)
    assert figures.length_error == pytest.approx(0.25)
    assert np.isnan(Figures.from_sums(unseen).dtw)


def test_the_parts_of_the_loss_are_those_of_training():
    """Of sentences of one length in one batch they are what training would compute."""
    corpus = made_corpus((20, 20, 20))
    corpus.sentences[2] = replace(corpus.sentences[2], gloss=("SENTENCE", "N0"))
    model, data = opened(corpus, mode="prompt2langgloss")
    loss = loss_of(model, data)
    batch = data.load(np.arange(3))
    with torch.no_grad():
        wanted = {name: part.item() for name, part in loss(model(batch), batch).items()}
    assert score(model, data, ALONE, loss).loss == pytest.approx(wanted, rel=1e-4)


def test_batches_do_not_matter(glossed, monkeypatch):
    """The same however many sentences share a batch."""
    model, data, loss = glossed
    together = score(model, data, ALONE, loss).summary()
    monkeypatch.setattr(scoring, "FRAMES_PER_BATCH", 1)
    assert score(model, data, ALONE, loss).summary() == pytest.approx(together, rel=1e-4)


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_do_not_matter(glossed, monkeypatch, ranks):
    """Each rank scores its share, of seven some none; the sums add up to those of one rank."""
    model, data, loss = glossed
    alone = score(model, data, ALONE, loss)
    held = []

    def add(tensor, _world):
        held.append(tensor.clone())
        return torch.stack(held).sum(0)

    monkeypatch.setattr(metrics, "all_reduce_sum", add)
    kept = {}
    for rank in range(ranks):
        own = {}
        last = score(model, data, replace(ALONE, world_size=ranks, rank=rank), loss, own)
        assert not own.keys() & kept.keys()
        kept |= own
    assert len(kept) == 5
    assert last.summary() == pytest.approx(alone.summary(), rel=1e-4)
    assert last.overall.sentences == 5
    assert list(last.languages) == list(alone.languages)
