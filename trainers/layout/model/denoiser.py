"""The network: noisy places of elements, and what is known of them -> the places.

    look, category, known values ─► content ─┬─► + noisy state ─► layers ─► head ─► state or v
                                             └──────── attended to ──┘
    time, aspect of the canvas ─────────────────► shifts and scales of the layers

Elements are a set: their order in a batch means nothing. Without images there is nothing to be
attended to that the elements do not carry themselves, and that part of the layers is left out.
Shapes: B layouts, N elements, 6 values of an element, F features of an image, D width, M shifts
and scales of a layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.config import ModelConfig
    from trainers.layout.data import Elements

TIME_SCALE = 1000.0


class Layer(nn.Module):
    """Elements attend to one another, to what is known of all, and think for themselves.

    Norms are shifted and scaled by the time as in adaLN-single (Chen et al., PixArt-alpha, 2023):
    one projection for all layers, and a table of each layer's own.
    """

    def __init__(self, config: ModelConfig, *, looks: bool) -> None:
        super().__init__()
        width, inner = config.width, int(config.width * config.feedforward)
        self.heads, self.dropout, self.looks = config.heads, config.dropout, looks
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, elementwise_affine=False) for _ in range(3 if looks else 2)
        )
        self.table = nn.Parameter(torch.zeros(2 * len(self.norms), width))
        self.self_in, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if looks:
            self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
            self.cross_out = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x_BND: Tensor, content_BND: Tensor, time_BMD: Tensor, mask: Tensor) -> Tensor:
        """Return (B, N, D). ``mask`` (B, 1, 1, N) is True where there is an element."""
        shifts = (time_BMD + self.table).unsqueeze(2).unbind(1)
        x = self._normed(x_BND, 0, shifts)
        x_BND = x_BND + self._drop(self.self_out(self._attend(self.self_in(x).chunk(3, -1), mask)))
        if self.looks:
            x = self._normed(x_BND, 1, shifts)
            found = self._attend((self.query(x), *self.memory(content_BND).chunk(2, -1)), mask)
            x_BND = x_BND + self._drop(self.cross_out(found))
        x = self._normed(x_BND, -1, shifts)
        return x_BND + self._drop(self.narrow(self._drop(F.gelu(self.widen(x)))))

    def _normed(self, x_BND: Tensor, which: int, shifts: tuple[Tensor, ...]) -> Tensor:
        shift, scale = shifts[2 * which], shifts[2 * which + 1]
        return torch.addcmul(shift, self.norms[which](x_BND), 1 + scale)

    def _attend(self, query_key_value: Sequence[Tensor], mask: Tensor) -> Tensor:
        split = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in query_key_value)
        query, key, value = split
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, mask, dropout)
        return attended.transpose(1, 2).flatten(2)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Denoiser(nn.Module):
    """The network of a config, for elements of ``features`` numbers an image (0: none are seen)."""

    def __init__(
        self, config: ModelConfig, categories: int, features: int, *, recompute: bool = False
    ) -> None:
        super().__init__()
        width = config.width
        self.recompute = recompute
        self.category = nn.Embedding(categories + 1, width)
        self.look = nn.Linear(features, width) if features else None
        self.known = nn.Linear(12, width)
        self.state = nn.Linear(6, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.aspect = nn.Linear(1, width)
        self.layers = nn.ModuleList(Layer(config, looks=features > 0) for _ in range(config.layers))
        self.modulations = 6 if features else 4
        self.modulation = nn.Linear(width, self.modulations * width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, 6))

    def forward(self, noisy_BN6: Tensor, time_B: Tensor, elements: Elements) -> Tensor:
        """Return what removes the noise (B, N, 6), in any range; ``time`` is in 0..1."""
        noisy = torch.where(elements.given, elements.known, noisy_BN6)
        content = self._content(elements)
        time = self.time(_waves(time_B, self.category.embedding_dim))
        time = F.silu(time + self.aspect(elements.aspect[:, None]))
        time_BMD = self.modulation(time).unflatten(-1, (self.modulations, -1))
        x, mask = content + self.state(noisy), elements.mask[:, None, None]
        for layer in self.layers:
            if self.recompute and self.training:
                x = checkpoint(layer, x, content, time_BMD, mask, use_reentrant=False)
            else:
                x = layer(x, content, time_BMD, mask)
        found: Tensor = self.head(self.norm(x))
        return found

    def _content(self, elements: Elements) -> Tensor:
        given = elements.given.to(elements.known.dtype)
        content: Tensor = self.category(elements.category)
        content = content + self.known(torch.cat([elements.known, given], dim=-1))
        if self.look is not None:
            content = content + self.look(elements.features)
        return content


def _waves(time_B: Tensor, width: int) -> Tensor:
    """Sines and cosines (B, width) of a time in 0..1 (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(
        -math.log(10_000) * torch.arange(width // 2, device=time_B.device) / (width // 2)
    )
    angles = TIME_SCALE * time_B[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
