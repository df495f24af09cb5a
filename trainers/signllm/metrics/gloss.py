"""Errors of sequences of glosses: edit distance, word error rate, BLEU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Glosses = Sequence[str]

BLEU_NEEDS = "BLEU is left out: it needs sacrebleu, pip install 'gpuops[text]'"


def edit_distance(found: Sequence[object], truth: Sequence[object]) -> int:
    """Return the fewest insertions, deletions and substitutions from one to the other."""
    row = list(range(len(truth) + 1))
    for count, one in enumerate(found, start=1):
        diagonal, row[0] = row[0], count
        for place, other in enumerate(truth, start=1):
            cheapest = min(diagonal + (one != other), row[place] + 1, row[place - 1] + 1)
            diagonal, row[place] = row[place], cheapest
    return row[-1]


def word_error_rate(found: Sequence[Glosses], truth: Sequence[Glosses]) -> float:
    """Return the edits of all sentences as a share of the glosses of the truth."""
    edits = sum(edit_distance(one, other) for one, other in zip(found, truth, strict=True))
    return edits / max(1, sum(map(len, truth)))


def bleu(found: Sequence[Glosses], truth: Sequence[Glosses]) -> dict[str, float] | None:
    """Return BLEU-1 to BLEU-4 of a corpus, each in 0..1; None if sacrebleu is not installed.

    BLEU-n is left out if no sentence of the truth has n glosses.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - only those who have glosses need it
    except ImportError:
        return None
    hypotheses, references = (list(map(" ".join, part)) for part in (found, truth))
    return {
        f"bleu_{most}": BLEU(max_ngram_order=most, tokenize="none", smooth_method="none")
        .corpus_score(hypotheses, [references])
        .score
        / 100
        for most in range(1, min(4, max(map(len, truth))) + 1)
    }
