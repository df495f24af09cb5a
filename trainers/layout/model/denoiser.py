"""The network: noisy places of elements, and what is known of them -> the places.

    look, category, known values ─► content ─┬─► + noisy state ─► layers ─► head ─► state or v
                                             └──────── attended to ──┘
    time, aspect of the canvas ─────────────────► shifts and scales of the layers

Elements are a set: their order in a batch means nothing. Shapes: B layouts, N elements, 6 values
of an element, F features of an image, D width, K heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from trainers.layout.config import ModelConfig
    from trainers.layout.data import Elements

TIME_SCALE = 1000.0
MODULATIONS = 6  # a shift and a scale for each of a layer's three norms


class Layer(nn.Module):
    """Elements attend to one another, to what is known of all, and think for themselves.

    Norms are shifted and scaled by the time as in adaLN-single (Chen et al., PixArt-alpha, 2023):
    one projection for all layers, and a table of each layer's own.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner = config.width, int(config.width * config.feedforward)
        self.heads, self.dropout = config.heads, config.dropout
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, elementwise_affine=False) for _ in range(MODULATIONS // 2)
        )
        self.table = nn.Parameter(torch.zeros(MODULATIONS, width))
        self.self_in, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x_BND: Tensor, content_BND: Tensor, time_B6D: Tensor, mask: Tensor) -> Tensor:
        """Return (B, N, D). ``mask`` (B, 1, 1, N) is True where there is an element."""
        shifts = (time_B6D + self.table).unsqueeze(2).unbind(1)
        x = self._normed(x_BND, 0, shifts)
        x_BND = x_BND + self._drop(self.self_out(self._attend(*self.self_in(x).chunk(3, -1), mask)))
        x = self._normed(x_BND, 1, shifts)
        key, value = self.memory(content_BND).chunk(2, -1)
        x_BND = x_BND + self._drop(self.cross_out(self._attend(self.query(x), key, value, mask)))
        x = self._normed(x_BND, 2, shifts)
        return x_BND + self._drop(self.narrow(self._drop(F.gelu(self.widen(x)))))

    def _normed(self, x_BND: Tensor, which: int, shifts: tuple[Tensor, ...]) -> Tensor:
        shift, scale = shifts[2 * which], shifts[2 * which + 1]
        return torch.addcmul(shift, self.norms[which](x_BND), 1 + scale)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        split = [x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(*split, attn_mask=mask, dropout_p=dropout)
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
        self.look = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width)) if features else None
        self.known = nn.Linear(12, width)
        self.state = nn.Linear(6, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.aspect = nn.Linear(1, width)
        self.modulation = nn.Linear(width, MODULATIONS * width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, 6)
        )

    def forward(self, noisy_BN6: Tensor, time_B: Tensor, elements: Elements) -> Tensor:
        """Return what removes the noise (B, N, 6), in any range; ``time`` is in 0..1."""
        noisy = torch.where(elements.given, elements.known, noisy_BN6)
        content = self._content(elements)
        time = self.time(_waves(time_B, self.category.embedding_dim))
        time = F.silu(time + self.aspect(elements.aspect[:, None]))
        time_B6D = self.modulation(time).unflatten(-1, (MODULATIONS, -1))
        x, mask = content + self.state(noisy), elements.mask[:, None, None]
        for layer in self.layers:
            if self.recompute and self.training:
                x = checkpoint(layer, x, content, time_B6D, mask, use_reentrant=False)
            else:
                x = layer(x, content, time_B6D, mask)
        found: Tensor = self.head(self.norm(x))
        return found

    def _content(self, elements: Elements) -> Tensor:
        given = elements.given.to(elements.known.dtype)
        content = self.category(elements.category)
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
