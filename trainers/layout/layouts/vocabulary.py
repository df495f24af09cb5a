"""What a model is told of elements (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from trainers.layout.layouts.corpus import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model is told of elements: their category, by number, and their images."""

    categories: tuple[str, ...]
    pictured: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what vocabulary.json holds."""
        return {"categories": list(self.categories), "pictured": self.pictured}


def vocabulary_of(corpus: Corpus, look: str) -> Vocabulary:
    """Return what a model is told of elements like those of a corpus; ``look`` is the setting.

    Raises:
        TrainerError: elements have nothing of it.
    """
    categories = corpus.categories if look in ("auto", "categories", "both") else ()
    pictured = corpus.pictured and look in ("auto", "images", "both")
    lacks = [
        name
        for name, there, wanted in (
            ("images", pictured, look in ("images", "both")),
            ("categories", bool(categories), look in ("categories", "both")),
        )
        if wanted and not there
    ]
    if lacks or not (categories or pictured):
        missing = " and no ".join(lacks or ["images", "categories"])
        raise TrainerError(
            f"elements of {corpus.source} have no {missing}", "--look auto takes what there is"
        )
    return Vocabulary(categories=categories, pictured=pictured)
