"""What keeps the figures on validation data from saying what was learned (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.signllm.sentences.corpus import Corpus, Sentence


def equal_sentences(training: Corpus, validation: Corpus) -> list[Sentence]:
    """Return the validation sentences that are training sentences too, name and text alike."""
    mine = {(one.language, one.name, one.text) for one in training.sentences}
    return [one for one in validation.sentences if (one.language, one.name, one.text) in mine]


def equal_texts(training: Corpus, validation: Corpus) -> list[Sentence]:
    """Return the validation sentences whose text is one of the training sentences'."""
    mine = {(one.language, one.text) for one in training.sentences}
    return [one for one in validation.sentences if (one.language, one.text) in mine]


def cut_texts(corpus: Corpus, most_bytes: int) -> list[Sentence]:
    """Return the sentences whose text has more UTF-8 bytes than the encoder takes."""
    return [one for one in corpus.sentences if len(one.text.encode()) > most_bytes]
