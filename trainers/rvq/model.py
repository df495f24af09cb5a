"""The RVQ-VAE: a convolutional autoencoder of motion with residual codebooks between its halves.

Shapes: B batch, T frames, N = T / 2**down_t tokens, F features of a frame, W width, D code width,
Q quantizers. Convolutions run on (B, channels, T).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainers.rvq.quantizer import Quantized, ResidualQuantizer

if TYPE_CHECKING:
    from trainers.engine.statistics import Statistics
    from trainers.rvq.config import Config, ModelConfig, QuantizerConfig

STRIDE = 2  # of every down- and upsampling
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """A batch of motion and what came back, both normalised by the training statistics."""

    output: Tensor  # (B, T, F)
    target: Tensor  # (B, T, F)
    quantized: Quantized


class ResidualBlock(nn.Module):
    """x + conv1(act(conv3(act(x)))), the first with a dilation; no change of size."""

    def __init__(self, width: int, dilation: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.pointwise = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, W, T) -> (B, W, T)."""
        h = self.dilated(_keep(self.activation(x), mask))
        change: Tensor = self.dropout(self.pointwise(self.activation(h)))
        return x + change


class ResidualStack(nn.Module):
    """`depth` blocks, dilations growth ** (depth - 1) down to 1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(
                config.width, config.dilation_growth_rate**i, config.activation, config.dropout
            )
            for i in reversed(range(config.depth))
        )
        self.recompute = False

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, W, T) -> (B, W, T)."""
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask)
        return x


class Encoder(nn.Module):
    """(B, F, T) -> (B, D, N)."""

    def __init__(self, features: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.inward = nn.Conv1d(features, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv1d(width, width, 2 * STRIDE, stride=STRIDE, padding=STRIDE // 2)
            for _ in range(config.down_t)
        )
        self.stacks = nn.ModuleList(ResidualStack(config) for _ in range(config.down_t))
        self.outward = nn.Conv1d(width, config.code_dim, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Encode; mask (B, 1, T) is zero beyond a clip's end, where convolutions see zeros."""
        x = torch.relu(self.inward(_keep(x, mask)))
        for down, stack in zip(self.down, self.stacks, strict=True):
            x = down(_keep(x, mask))
            mask = None if mask is None else mask[..., ::STRIDE]
            x = stack(x, mask)
        latents: Tensor = self.outward(_keep(x, mask))
        return latents


class Decoder(nn.Module):
    """(B, D, N) -> (B, F, T)."""

    def __init__(self, features: int, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.inward = nn.Conv1d(config.code_dim, width, 3, padding=1)
        self.stacks = nn.ModuleList(ResidualStack(config) for _ in range(config.down_t))
        self.up = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(config.down_t))
        self.hidden = nn.Conv1d(width, width, 3, padding=1)
        self.outward = nn.Conv1d(width, features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Mask: (B, 1, N)."""
        x = torch.relu(self.inward(_keep(x, mask)))
        for stack, up in zip(self.stacks, self.up, strict=True):
            x = stack(x, mask).repeat_interleave(STRIDE, dim=-1)
            mask = None if mask is None else mask.repeat_interleave(STRIDE, dim=-1)
            x = up(_keep(x, mask))
        x = torch.relu(self.hidden(_keep(x, mask)))
        features: Tensor = self.outward(_keep(x, mask))
        return features


class RVQVAE(nn.Module):
    """Motion features to codes and back; the statistics that normalise them are part of it.

    Clips of any length pass: the last frame is held up to a multiple of 2**down_t and the surplus
    is cut off again. With a mask, a clip padded in its batch gives what it gives on its own.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, features: int, config: ModelConfig, quantizer: QuantizerConfig, seed: int = 0
    ) -> None:
        super().__init__()
        self.hop = STRIDE**config.down_t
        self.encoder = Encoder(features, config)
        self.decoder = Decoder(features, config)
        self.quantizer = ResidualQuantizer(
            num_quantizers=quantizer.num_quantizers,
            nb_code=quantizer.nb_code,
            code_dim=config.code_dim,
            mu=quantizer.mu,
            dropout=quantizer.quantize_dropout_prob,
            temperature=quantizer.sample_temperature,
            seed=seed,
            shared=quantizer.shared_codebook,
        )
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def use_gradient_checkpointing(self) -> None:
        """Compute the blocks' activations again in the backward pass instead of keeping them."""
        for module in self.modules():
            if isinstance(module, ResidualStack):
                module.recompute = True

    def normalise(self, features: Tensor) -> Tensor:
        """Features of the data -> features of the network."""
        return (features - self.mean) / self.std

    def denormalise(self, features: Tensor) -> Tensor:
        """Features of the network -> features of the data."""
        return features * self.std + self.mean

    def forward(self, features_BTF: Tensor, mask_BT: Tensor | None = None) -> Reconstruction:
        """Code and reconstruct. The mask marks the frames that are there; they come first."""
        target = self.normalise(features_BTF)
        padded, frames = self._pad(target, mask_BT)
        latents = self.encoder(padded.mT, frames).mT
        tokens = None if frames is None else frames[:, 0, :: self.hop]
        quantized = self.quantizer(latents, None if tokens is None else tokens.bool())
        decoded = self.decoder(quantized.latents.mT, None if tokens is None else tokens[:, None])
        output = decoded.mT[:, : features_BTF.shape[1]]
        return Reconstruction(output=output, target=target, quantized=quantized)

    def encode(self, features_BTF: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """(B, T, F) features of the data -> (B, N, Q) codes, nearest ones in evaluation mode."""
        padded, frames = self._pad(self.normalise(features_BTF), mask_BT)
        tokens = None if frames is None else frames[:, 0, :: self.hop].bool()
        quantized: Quantized = self.quantizer(self.encoder(padded.mT, frames).mT, tokens)
        return quantized.codes

    def decode(self, codes_BNQ: Tensor, length: int | None = None) -> Tensor:
        """(B, N, Q) codes -> (B, T, F) features of the data, cut to `length` frames."""
        there = (codes_BNQ[..., 0] >= 0)[:, None].float()
        mask = None if bool(there.all()) else there
        decoded = self.decoder(self.quantizer.decode(codes_BNQ).mT, mask).mT
        return self.denormalise(decoded[:, :length])

    def _pad(self, x_BTF: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Hold each clip's last frame up to a multiple of the hop; (B, 1, T) is zero beyond."""
        length = x_BTF.shape[1]
        surplus = -length % self.hop
        if mask_BT is None and not surplus:
            return x_BTF, None
        frame = torch.arange(length + surplus, device=x_BTF.device)
        if mask_BT is None:
            return x_BTF[:, frame.clamp_max(length - 1)], None
        lengths = mask_BT.sum(1, keepdim=True)
        held = frame.minimum(lengths - 1).clamp_min(0)
        x_BTF = x_BTF.gather(1, held[..., None].expand(-1, -1, x_BTF.shape[-1]))
        up_to = (lengths + self.hop - 1) // self.hop * self.hop
        return x_BTF, (frame < up_to)[:, None].to(x_BTF.dtype)


def _keep(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the padding, so that it equals the zeros that a convolution sees beyond an end."""
    return x if mask is None else x * mask


def build_model(config: Config, statistics: Statistics) -> RVQVAE:
    """Build the model of a config around the statistics of its data."""
    features = len(statistics.mean)
    model = RVQVAE(features, config.model, config.quantizer, seed=config.run.seed)
    model.mean.copy_(torch.from_numpy(statistics.mean))
    model.std.copy_(torch.from_numpy(statistics.std))
    if config.loop.gradient_checkpointing:
        model.use_gradient_checkpointing()
    return model
