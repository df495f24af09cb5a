"""What a recogniser reads in generated sentences, beside what it reads in the true ones.

Shapes: N sentences, W features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainers.signllm.metrics.gloss import edit_distance
from trainers.signllm.metrics.recogniser import units_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.signllm.metrics.recogniser import Readings
    from trainers.signllm.sentences.corpus import Sentence

GROUP = 40  # sentences among which the right one must be found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBack:
    """Figures in 0..1, means over sentences."""

    read_back: float | None
    """max(0, 1 - edit distance / length of what must be read); None if nothing is known to be."""
    retrieval: float  # how often the nearest of at most 40 true sentences is the right one
    language: float  # how often the language is the right one

    def to_dict(self) -> dict[str, float | None]:
        """Return the figures by name."""
        return asdict(self)


def judge_readings(
    made: Readings,
    truth: Readings,
    sentences: Sequence[Sentence],
    units: Mapping[str, str],
    rows: Sequence[int] | None = None,
) -> ReadBack:
    """Judge readings of ``sentences``, or of some of their ``rows``.

    ``units`` says what is read in a language. The right one of a group of sentences is any that
    has the same text and language.
    """
    hits = retrieved(made, truth, sentences)
    chosen = range(len(sentences)) if rows is None else rows
    shares = [
        max(0.0, 1 - edit_distance(made.units[row], wanted) / len(wanted))
        for row in chosen
        for one in [sentences[row]]
        if (wanted := units_of(one, units.get(one.language, "gloss")))
    ]
    return ReadBack(
        read_back=float(np.mean(shares)) if shares else None,
        retrieval=float(np.mean([hits[row] for row in chosen])),
        language=float(np.mean([made.languages[row] == sentences[row].language for row in chosen])),
    )


def retrieved(made: Readings, truth: Readings, sentences: Sequence[Sentence]) -> list[bool]:
    """Return for each sentence whether the true one nearest to it by cosine is the right one.

    Groups are drawn, always the same, so that neighbours in a file do not meet in one.
    """
    count = len(sentences)
    order = np.random.default_rng(0).permutation(count)
    found = [False] * count
    for group in np.array_split(order, max(1, -(-count // GROUP))):
        nearest = group[(made.pooled[group] @ truth.pooled[group].T).argmax(axis=1)]
        for row, other in zip(group.tolist(), nearest.tolist(), strict=True):
            one, best = sentences[row], sentences[other]
            found[row] = (one.text, one.language) == (best.text, best.language)
    return found
