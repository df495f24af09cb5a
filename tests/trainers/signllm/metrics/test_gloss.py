"""Errors of glosses: hand-worked numbers, and sacrebleu's."""

from __future__ import annotations

import sys

import pytest

from trainers.signllm.metrics.gloss import bleu, edit_distance, word_error_rate


@pytest.mark.parametrize(
    ("found", "truth", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("ba", "ab", 2)],
)
def test_edit_distance(found, truth, edits):
    """Insertions, deletions and substitutions cost 1 each."""
    assert edit_distance(found, truth) == edits


def test_word_error_rate_is_of_the_whole_corpus():
    """1 edit in 4 glosses and 2 in 1 are 3 in 5, not the mean of two rates."""
    found = [("I", "GO", "HOME", "NOW"), ("A", "B")]
    assert word_error_rate(found, [("I", "GO", "HOUSE", "NOW"), ("C",)]) == pytest.approx(3 / 5)


def test_bleu_of_what_is_right_and_of_what_is_partly_right():
    """4 of 5 glosses alike: BLEU-1 0.8; 3 of 4 pairs: BLEU-2 the root of 0.8 * 0.75."""
    pytest.importorskip("sacrebleu")
    truth = [("A", "B", "C", "D", "E")]
    assert list(bleu(truth, truth).values()) == pytest.approx([1, 1, 1, 1])
    found = bleu([("A", "B", "C", "D", "X")], truth)
    assert found["bleu_1"] == pytest.approx(0.8)
    assert found["bleu_2"] == pytest.approx((0.8 * 0.75) ** 0.5)
    assert bleu([("x",)], truth)["bleu_1"] == 0


def test_bleu_of_more_than_any_sentence_has_is_left_out():
    """There is no pair of glosses in sentences of one."""
    pytest.importorskip("sacrebleu")
    assert set(bleu([("A",)], [("A",)])) == {"bleu_1"}


def test_without_sacrebleu_there_is_no_bleu(monkeypatch):
    """None, for the caller to say so."""
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    assert bleu([("A",)], [("A",)]) is None
