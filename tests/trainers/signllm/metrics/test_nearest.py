"""The training sentence whose text is nearest."""

from __future__ import annotations

from trainers.signllm.metrics.nearest import nearest_sentences
from trainers.signllm.sentences.corpus import Sentence


def sentence(text, language="ASL", name="one"):
    return Sentence(name=name, language=language, text=text, gloss=None, frames=9)


TRAINING = [
    sentence("the rain begins"),
    sentence("snow in the evening"),
    sentence("snow in the evening", "DGS"),
    sentence("the sun"),
]


def test_the_nearest_text_of_the_language_is_found():
    """Capitals do not matter; another language's equal text does not count."""
    asked = [sentence("Snow begins in the evening"), sentence("The sun!"), sentence("rain", "DGS")]
    assert nearest_sentences(asked, TRAINING) == [1, 3, 2]


def test_a_training_sentence_is_not_its_own_neighbour():
    """Only another one of the same text is."""
    assert nearest_sentences(TRAINING[1:2], TRAINING) != [1]
    twin = sentence("snow in the evening", name="two")
    assert nearest_sentences([twin], TRAINING) == [1]


def test_a_language_without_another_sentence_takes_one_of_any():
    """Rather than itself."""
    assert nearest_sentences([TRAINING[2]], TRAINING) == [1]
