"""`vector_quantize_pytorch.ResidualVQ` in the place of rvq's quantizer, for the benchmarks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from trainers.engine.distributed import World
from trainers.rvq.config import ModelConfig, QuantizerConfig
from trainers.rvq.quantizer import DROPPED, Quantized

NAME = "vector-quantize-pytorch"


class Peer(nn.Module):
    """The peer's quantizer with the interface of ours; its codebooks learn in its forward."""

    def __init__(self, model: ModelConfig, codes: QuantizerConfig, **settings: Any) -> None:
        super().__init__()
        self.num_quantizers, self.nb_code = codes.num_quantizers, codes.nb_code
        self.codes = ResidualVQ(
            dim=model.code_dim,
            num_quantizers=codes.num_quantizers,
            codebook_size=codes.nb_code,
            **settings,
        )

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Quantized:
        """Code, and learn."""
        with torch.autocast(x_BND.device.type, enabled=False):
            latents, codes_BNQ, losses = self.codes(x_BND.float(), mask=mask_BN)
        if mask_BN is not None:
            codes_BNQ = codes_BNQ.masked_fill(~mask_BN[..., None], DROPPED)
        return Quantized(
            latents=latents,
            codes=codes_BNQ,
            commitment=losses.mean(),
            perplexity=x_BND.new_zeros(()),
        )

    def update_(self, _world: World) -> None:
        """Do nothing: forward has done it."""

    def dead_codes(self) -> list[int]:
        """By the rule of ours: how many codes of each layer training no longer uses."""
        counts_QK = torch.stack([layer._codebook.cluster_size[0] for layer in self.codes.layers])  # noqa: SLF001
        least_Q1 = (counts_QK.mean(-1, keepdim=True) / 4).clamp_max(1.0)
        return (counts_QK < least_Q1).sum(-1).tolist()
