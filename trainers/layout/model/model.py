"""The whole network: what is seen of images, and what places them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from trainers.layout.model.denoiser import Denoiser
from trainers.layout.model.visual import build_visual

if TYPE_CHECKING:
    from trainers.layout.config import Config
    from trainers.layout.data import Elements
    from trainers.layout.layouts.vocabulary import Vocabulary


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
