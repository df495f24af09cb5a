"""The training sentence whose text is nearest: what copying would reach."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.signllm.sentences.corpus import Sentence

LONGEST = 3  # characters of the pieces that texts are compared by
AT_A_TIME = 512


def nearest_sentences(sentences: Sequence[Sentence], training: Sequence[Sentence]) -> list[int]:
    """Return for each sentence the number of the nearest training sentence of its language.

    Nearest by the cosine of how often pieces of 1 to 3 characters occur, then by the length of the
    text. A sentence that is a training sentence itself gets another one. If its language has no
    other, one of any language is taken.
    """
    vectors = _vectors([one.text for one in (*training, *sentences)])
    theirs, mine = vectors[: len(training)], vectors[len(training) :]
    languages = np.array([one.language for one in training])
    lengths = np.array([len(one.text) for one in training])
    places: dict[tuple[str, str, str], list[int]] = {}
    for number, one in enumerate(training):
        places.setdefault(_identity(one), []).append(number)
    found: list[int] = []
    for start in range(0, len(sentences), AT_A_TIME):
        alike = (mine[start : start + AT_A_TIME] @ theirs.T).toarray()
        for one, cosine in zip(sentences[start : start + AT_A_TIME], alike, strict=True):
            worth = cosine - 1e-6 * np.abs(lengths - len(one.text))
            worth[languages != one.language] -= 10
            worth[places.get(_identity(one), [])] -= 100
            found.append(int(worth.argmax()))
    return found


def _identity(one: Sentence) -> tuple[str, str, str]:
    return one.language, one.name, one.text


def _vectors(texts: Sequence[str]) -> Any:
    """A sparse matrix with a row of length 1 for each text."""
    columns: dict[str, int] = {}
    values: list[float] = []
    places: list[int] = []
    ends = [0]
    for text in texts:
        marked = f" {text.casefold()} "
        pieces = Counter(
            marked[start : start + length]
            for length in range(1, LONGEST + 1)
            for start in range(len(marked) - length + 1)
        )
        norm = math.sqrt(sum(count**2 for count in pieces.values()))
        values += [count / norm for count in pieces.values()]
        places += [columns.setdefault(piece, len(columns)) for piece in pieces]
        ends.append(len(places))
    return csr_matrix((values, places, ends), shape=(len(texts), len(columns)))
