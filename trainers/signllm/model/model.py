"""The whole network: a text and a language -> poses, their length and, on the way, glosses.

    text ─► text encoder ─► memory ─┬─────────────────────────► pose decoder ─► poses, quality
                                    └─► gloss generator ─► memory ──┘  │
                                        (prompt2langgloss)             └─ length head

Shapes: B sentences, T frames, V = 150 values, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.signllm.model.decoders import Memory, build_decoder
from trainers.signllm.model.gloss import Glosses, GlossGenerator
from trainers.signllm.model.text import DecoderLayer, EncoderLayer, build_text_encoder
from trainers.signllm.model.timing import middles, progress_code

if TYPE_CHECKING:
    from trainers.engine.statistics import Statistics
    from trainers.signllm.config import Config
    from trainers.signllm.data import Prompts, SignBatch, Vocabulary

LEAST_FRAMES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What the network says of a batch, in training: the true lengths are given to it."""

    poses: Tensor  # (B, T, V) normalised
    quality: Tensor  # (B, T)
    counter: Tensor | None  # (B, T)
    log_frames: Tensor  # (B,) logarithm of the predicted lengths
    gloss: Tensor | None  # (B, G, C) logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Poses of texts alone."""

    poses: Tensor  # (B, T, V) normalised, padded
    frames: Tensor  # (B,)
    gloss: Tensor | None  # (B, G, C) logits


class SignModel(nn.Module):
    """The network of a config; ``frames_per_token`` is the mean over the training sentences."""

    mean: Tensor
    std: Tensor
    frames_per_token: Tensor

    def __init__(self, config: Config, vocabulary: Vocabulary, statistics: Statistics) -> None:
        super().__init__()
        model, languages = config.model, len(vocabulary.languages)
        self.most_frames = config.dataset.max_frames
        self.register_buffer("mean", torch.from_numpy(statistics.mean.copy()))
        self.register_buffer("std", torch.from_numpy(statistics.std.copy()))
        self.register_buffer("frames_per_token", torch.ones(()))
        self.text = build_text_encoder(config.text, model)
        self.language = nn.Embedding(languages, model.width)
        self.gloss = (
            GlossGenerator(model, len(vocabulary.glosses))
            if model.mode == "prompt2langgloss"
            else None
        )
        self.duration = nn.Linear(model.width, 1)
        nn.init.constant_(self.duration.bias, math.log(math.e - 1))  # whose softplus is 1
        self.decoder = build_decoder(model, languages)
        for module in self.modules():
            if isinstance(module, (EncoderLayer, DecoderLayer)):
                module.recompute = config.loop.gradient_checkpointing

    def forward(self, batch: SignBatch) -> Signs:
        """Give poses of the true lengths; autoregression is given the true frames before each."""
        memory, frames, glosses = self._read(batch.prompts, batch.gloss, batch.gumbel)
        decoded = self.decoder(memory, batch.frames, batch.poses, batch.noise)
        return Signs(
            poses=decoded.poses,
            quality=decoded.quality,
            counter=decoded.counter,
            log_frames=frames.log(),
            gloss=None if glosses is None else glosses.logits,
        )

    @torch.no_grad()
    def generate(self, prompts: Prompts, frames: Tensor | None = None) -> Generated:
        """Sign texts, at their predicted lengths or at those given (B,)."""
        memory, lengths, glosses = self._read(prompts)
        logits = None if glosses is None else glosses.logits
        predicted = lengths.round().long().clamp(LEAST_FRAMES, self.most_frames)
        wanted, most = (predicted, self.most_frames) if frames is None else (frames, None)
        poses, found = self.decoder.generate(memory, wanted, most)
        return Generated(poses=poses, frames=found, gloss=logits)

    def denormalise(self, poses: Tensor) -> Tensor:
        """(..., V) in the units of the data."""
        return poses * self.std + self.mean

    def _read(
        self, prompts: Prompts, known: Tensor | None = None, gumbel: Tensor | None = None
    ) -> tuple[Memory, Tensor, Glosses | None]:
        """Read texts: what the decoder attends to, the predicted lengths (B,), the glosses.

        A length is the sum of a duration for each token (or gloss). So each has a place in the
        sentence, which it is marked with in the way in which frames ask by their progress.
        """
        states, mask = self.text(prompts), prompts.text_mask
        embedded = self.language(prompts.language)
        glosses = None
        if self.gloss is not None:
            glosses = self.gloss(states, mask, embedded, known, gumbel)
            states, mask = glosses.embedded, glosses.mask
        durations = F.softplus(self.duration(states)[..., 0].float()) * mask
        length = durations.sum(1, keepdim=True).clamp_min(1e-3)
        progress = (middles(durations) / length).detach()
        memory = Memory(
            states=states + progress_code(progress, states.shape[-1]).to(states.dtype),
            mask=mask,
            language=prompts.language,
            languages=prompts.languages,
            embedded=embedded,
            durations=durations,
        )
        return memory, length[:, 0] * self.frames_per_token, glosses
