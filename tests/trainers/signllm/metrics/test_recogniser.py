"""The recogniser: it learns what can be read, and depends on nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trainers.signllm.data import statistics_of
from trainers.signllm.metrics import recogniser as module
from trainers.signllm.metrics.read_back import judge_readings
from trainers.signllm.metrics.recogniser import (
    Readings,
    choose_units,
    train_recogniser,
    units_of,
)
from trainers.signllm.metrics.recogniser_file import ABOUT, load_recogniser, save_recogniser
from trainers.signllm.sentences.corpus import Corpus, Sentence

SIGNS = "ABCD"


def sentence(text="a b", language="ASL", gloss=None, frames=9):
    return Sentence(name="one", language=language, text=text, gloss=gloss, frames=frames)


def signed(count, seed, onset=0.0):
    """Sentences of one to three signs; each sign is a place of its own, held for 10 frames.

    With ``onset`` the first two frames of each are so far away from it.
    """
    places, onsets = np.random.default_rng(99).normal(size=(2, 2, len(SIGNS), 150))
    rng = np.random.default_rng(seed)
    sentences, poses = [], []
    for row in range(count):
        signs = rng.permutation(len(SIGNS))[: rng.integers(1, 4)]
        language = row % 2
        pose = np.repeat(places[language, signs], 10, axis=0)
        pose.reshape(len(signs), 10, 150)[:, :2] += onset * onsets[language, signs, None]
        pose += 0.1 * rng.normal(size=pose.shape)
        pose[:, 30:60] = np.nan
        gloss = tuple(SIGNS[sign] for sign in signs)
        sentences.append(sentence("".join(gloss), ("ASL", "DGS")[language], gloss, len(pose)))
        poses.append(pose)
    return Corpus("signed", "train", sentences, poses.__getitem__, fps=25.0)


@pytest.fixture(name="known", scope="module")
def _known():
    """A corpus, and what was trained on it for a few steps."""
    torch.set_num_threads(1)
    corpus = signed(60, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_STEPS", 50)
        patch.setattr(module, "PASSES", 1)
        yield corpus, train_recogniser(corpus, statistics_of(corpus, 0.1))


def all_poses(corpus):
    return [corpus.poses(row) for row in range(len(corpus))]


def test_it_reads_sentences_that_it_was_not_trained_on(known):
    """Signs, languages, and which sentence it is; noise reads as nothing of the kind."""
    _, recogniser = known
    held_out = signed(30, 2)
    truth = recogniser.read(all_poses(held_out))
    judged = judge_readings(truth, truth, held_out.sentences, recogniser.units)
    assert judged.read_back > 0.95
    assert judged.language == judged.retrieval == 1
    still = recogniser.read([np.zeros((len(pose), 150)) for pose in all_poses(held_out)])
    assert judge_readings(still, truth, held_out.sentences, recogniser.units).retrieval < 0.2


def test_it_reads_what_is_held():
    """And not a moment that is typical of the recordings, though that would do for them."""
    recordings, held = signed(60, 1, onset=4), signed(30, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_STEPS", 100)
        patch.setattr(module, "PASSES", 1)
        recogniser = train_recogniser(recordings, statistics_of(recordings, 0.1))
    readings = recogniser.read(all_poses(held))
    judged = judge_readings(readings, readings, held.sentences, recogniser.units)
    assert judged.read_back > 0.95


def test_joints_that_were_never_seen_do_not_mislead_it(known):
    """A model that generates gives them too, and no loss told it where they are."""
    _, recogniser = known
    held_out = signed(30, 2)
    truth = recogniser.read(all_poses(held_out))
    places = recogniser.std.numpy() * np.random.default_rng(3).normal(size=(30, 1, 150))
    filled = [
        np.where(np.isfinite(pose), pose, imagined)
        for pose, imagined in zip(all_poses(held_out), places, strict=True)
    ]
    made = recogniser.read(filled)
    judged = judge_readings(made, truth, held_out.sentences, recogniser.units)
    assert judged.read_back > 0.95
    assert judged.retrieval == 1


def test_the_same_seed_gives_the_same_recogniser(monkeypatch):
    """Bit for bit, and it leaves torch's own generator as it was."""
    monkeypatch.setattr(module, "LEAST_STEPS", 3)
    monkeypatch.setattr(module, "MOST_STEPS", 3)
    corpus = signed(8, 1)
    statistics = statistics_of(corpus, 0.1)
    state = torch.get_rng_state()
    one, two, other = (
        train_recogniser(corpus, statistics, seed).state_dict() for seed in (5, 5, 6)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_reading_does_not_depend_on_the_others_of_its_batch(known, monkeypatch):
    """Padding changes nothing."""
    corpus, recogniser = known
    together = recogniser.read(all_poses(corpus))
    monkeypatch.setattr(module, "READ_FRAMES", 1)
    apart = recogniser.read(all_poses(corpus))
    assert together.units == apart.units
    assert together.languages == apart.languages
    np.testing.assert_allclose(together.pooled, apart.pooled, atol=1e-5)


def test_it_is_kept_for_the_data_it_was_trained_on(known, tmp_path):
    """The same readings from its files; none for other data, a damaged file or a missing one."""
    corpus, recogniser = known
    assert load_recogniser(tmp_path, "abc") is None
    save_recogniser(recogniser, tmp_path, "abc")
    kept = load_recogniser(tmp_path, "abc")
    poses = all_poses(corpus)
    assert kept.read(poses).units == recogniser.read(poses).units
    assert kept.units == recogniser.units
    assert load_recogniser(tmp_path, "another") is None
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps(about | {"vocabulary": ["A"]}))
    assert load_recogniser(tmp_path, "abc") is None
    (tmp_path / ABOUT).write_text("{")
    assert load_recogniser(tmp_path, "abc") is None


def test_what_is_read_is_gloss_or_words_or_characters():
    """By language: texts of one word are spelled, and so are scripts without spaces."""
    sentences = [
        sentence("Es regnet.", "DGS", ("REGEN",)),
        sentence("It's raining", "ASL"),
        sentence("下雨了。", "CSL"),
        sentence("hello", "BSL"),
    ]
    units = choose_units(sentences)
    assert units == {"ASL": "words", "BSL": "characters", "CSL": "characters", "DGS": "gloss"}
    read = [units_of(one, units[one.language]) for one in sentences]
    assert read == [("REGEN",), ("it", "s", "raining"), tuple("下雨了"), tuple("hello")]


def readings(*units, pooled=None, language="ASL"):
    given = np.eye(len(units)) if pooled is None else np.array(pooled, dtype=float)
    return Readings(units=list(units), languages=[language] * len(units), pooled=given)


def test_read_back_is_the_share_that_is_right_and_never_below_zero():
    """1 - 1/2, and 1 - 3/1 counts as 0; a sentence whose gloss is unknown does not count."""
    sentences = [sentence("a b", gloss=gloss) for gloss in (("A", "B"), ("C",), None)]
    made = readings(("A",), ("X", "Y", "Z"), ("A",))
    judged = judge_readings(made, made, sentences, {"ASL": "gloss"})
    assert judged.read_back == pytest.approx((0.5 + 0) / 2)
    assert judge_readings(made, made, sentences, {"ASL": "gloss"}, [2]).read_back is None


def test_retrieval_is_among_forty_and_equal_texts_are_one():
    """Each made sentence is nearest to its neighbour's truth: wrong, unless the text is equal."""
    count = 40
    turned = np.roll(np.eye(count), 1, axis=1)
    texts = ["alike", "alike", *map(str, range(count - 2))]
    sentences = [sentence(text, gloss=("A",)) for text in texts]
    truth, made = readings(*[("A",)] * count), readings(*[("A",)] * count, pooled=turned)
    judged = judge_readings(made, truth, sentences, {"ASL": "gloss"})
    assert judged.retrieval == 1 / count
    assert judge_readings(truth, truth, sentences, {"ASL": "gloss"}).retrieval == 1
