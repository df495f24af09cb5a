"""The whole network: what is seen of images, and what places them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from trainers.engine.errors import TrainerError
from trainers.layout.model.denoiser import Denoiser
from trainers.layout.model.visual import build_visual

if TYPE_CHECKING:
    from trainers.layout.config import Config
    from trainers.layout.data import Elements
    from trainers.layout.layouts.corpus import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model is told of elements: their category, by number, and their images."""

    categories: tuple[str, ...]
    pictured: bool

    def to_dict(self) -> dict[str, Any]:
        """Return what vocabulary.json holds."""
        return {"categories": list(self.categories), "pictured": self.pictured}


class LayoutModel(nn.Module):
    """The network of a config.

    ``visual`` gives features of images. They are computed before training, so it learns no more,
    and a step does not pass through it.
    """

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.visual = build_visual(config.visual) if vocabulary.pictured else None
        self.denoiser = Denoiser(
            config.model,
            len(vocabulary.categories),
            0 if self.visual is None else self.visual.features,
            recompute=config.loop.gradient_checkpointing,
        )

    def forward(self, noisy_BN6: Tensor, time_B: Tensor, elements: Elements) -> Tensor:
        """Return what removes the noise (B, N, 6): see Denoiser."""
        found: Tensor = self.denoiser(noisy_BN6, time_B, elements)
        return found


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
