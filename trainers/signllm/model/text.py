"""From a text to what the decoders attend to: (B, L) tokens -> (B, L, W).

Shapes: B texts, L tokens, W width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainers.engine.errors import TrainerError
from trainers.engine.frozen import Frozen
from trainers.engine.pretrained import pretrained_folder
from trainers.signllm.config import BYTES, ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainers.signllm.config import ModelConfig, TextConfig
    from trainers.signllm.data import Prompts

BYTE_TOKENS = 257  # 256 bytes, and 0 for none


def tokenizer(config: TextConfig) -> Callable[[str], list[int]]:
    """Return what turns a text into tokens, at most ``max_length`` of them.

    Raises:
        TrainerError: the folder of the text encoder holds no tokenizer.
    """
    if config.text_encoder == BYTES:
        return lambda text: [byte + 1 for byte in text.encode()[: config.max_length]]
    pretrained = _pretrained("AutoTokenizer", config.text_encoder)

    def tokenize(text: str) -> list[int]:
        found = pretrained(text, truncation=True, max_length=config.max_length)
        return list(found["input_ids"])

    return tokenize


def _pretrained(kind: str, folder: str) -> Any:
    """Load from a local folder; nothing is ever downloaded.

    Raises:
        TrainerError: transformers is not installed, or the folder does not hold such a model.
    """
    pretrained_folder(folder, *ENCODER)
    try:
        import transformers  # noqa: PLC0415 - only those who use it need it
    except ImportError:
        raise TrainerError(
            f"the text encoder {folder} needs the package transformers",
            "pip install 'gpuops[text]'; or give --text-encoder bytes",
        ) from None
    try:
        safe = {"use_safetensors": True} if kind == "AutoModel" else {}  # others are pickles
        return getattr(transformers, kind).from_pretrained(folder, local_files_only=True, **safe)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise TrainerError(f"{folder} holds no model of transformers: {reason}") from None


class ByteEncoder(nn.Module):
    """UTF-8 bytes by a small transformer: any language, no file, no download."""

    def __init__(self, config: TextConfig, model: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTE_TOKENS, model.width)
        self.layers = encoder_layers(model, config.text_layers)

    def forward(self, prompts: Prompts) -> Tensor:
        """(B, L) -> (B, L, W)."""
        x = self.embedding(prompts.tokens)
        places = torch.arange(x.shape[1], device=x.device)
        x = x + sinusoids(places, x.shape[-1])
        encoded: Tensor = self.layers(x, src_key_padding_mask=~prompts.text_mask)
        return encoded


class PretrainedEncoder(nn.Module):
    """A transformers model from a local folder, brought to the width of the others."""

    def __init__(self, folder: str, model: ModelConfig) -> None:
        super().__init__()
        self.pretrained = _pretrained("AutoModel", folder)
        hidden: int = self.pretrained.config.hidden_size
        self.project = nn.Sequential(nn.Linear(hidden, model.width), nn.LayerNorm(model.width))

    def freeze(self) -> None:
        """Take the pretrained part out of training and out of checkpoints."""
        self.pretrained = Frozen(self.pretrained)

    def forward(self, prompts: Prompts) -> Tensor:
        """(B, L) -> (B, L, W)."""
        found = self.pretrained(input_ids=prompts.tokens, attention_mask=prompts.text_mask.long())
        projected: Tensor = self.project(found.last_hidden_state)
        return projected


def build_text_encoder(config: TextConfig, model: ModelConfig) -> ByteEncoder | PretrainedEncoder:
    """Build the encoder that the settings name.

    Raises:
        TrainerError: it is a folder, and cannot be loaded.
    """
    if config.text_encoder == BYTES:
        return ByteEncoder(config, model)
    encoder = PretrainedEncoder(config.text_encoder, model)
    if not config.text_lr_ratio:
        encoder.freeze()
    return encoder


class EncoderLayer(nn.TransformerEncoderLayer):
    """Self-attention; ``recompute`` computes its activations again in the backward pass."""

    recompute = False

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """See ``nn.TransformerEncoderLayer``."""
        return _run(super().forward, self.recompute, *args, **kwargs)


class DecoderLayer(nn.TransformerDecoderLayer):
    """The same, with attention to another sequence."""

    recompute = False

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """See ``nn.TransformerDecoderLayer``."""
        return _run(super().forward, self.recompute, *args, **kwargs)


def _run(forward: Callable[..., Tensor], recompute: bool, *args: Any, **kwargs: Any) -> Tensor:  # noqa: FBT001
    if recompute and torch.is_grad_enabled():
        again: Tensor = checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return again
    return forward(*args, **kwargs)


def encoder_layers(model: ModelConfig, count: int) -> nn.TransformerEncoder:
    """Layers of self-attention, normalised before each part."""
    layer = EncoderLayer(**_layer(model))
    norm = nn.LayerNorm(model.width)
    return nn.TransformerEncoder(layer, count, norm, enable_nested_tensor=False)


def decoder_layers(model: ModelConfig, count: int) -> nn.TransformerDecoder:
    """Layers of self-attention and attention to another sequence, normalised before each part."""
    return nn.TransformerDecoder(DecoderLayer(**_layer(model)), count, nn.LayerNorm(model.width))


def _layer(model: ModelConfig) -> dict[str, Any]:
    return {
        "d_model": model.width,
        "nhead": model.heads,
        "dim_feedforward": int(model.width * model.feedforward),
        "dropout": model.dropout,
        "activation": "gelu",
        "batch_first": True,
        "norm_first": True,
    }


def sinusoids(places: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """(...) places -> (..., width) sines and cosines (Vaswani and others 2017, section 3.5)."""
    half = width // 2
    steps = torch.arange(half, device=places.device, dtype=torch.float32)
    angles = places[..., None].float() * torch.exp(-math.log(longest) * steps / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
