"""From a text to glosses, all at once: slots that ask the text which sign stands in their place.

A gloss is drawn straight through: forward the most likely one of logits with Gumbel noise, backward
the gradient of their softmax (Jang and others 2017, arXiv 1611.01144). So the poses' loss reaches
the text encoder through the glosses. In training a gloss that is known takes the place of the drawn
one: the pose decoder learns from right glosses from the first step on.

Shapes: B texts, L tokens, G slots, C glosses and the end, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.signllm.data import END, NO_GLOSS
from trainers.signllm.model.text import decoder_layers, sinusoids

if TYPE_CHECKING:
    from trainers.signllm.config import ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Glosses:
    """The glosses of texts, and what stands for them."""

    logits: Tensor  # (B, G, C)
    embedded: Tensor  # (B, G, W)
    mask: Tensor  # (B, G) whether the slot holds a gloss


class GlossGenerator(nn.Module):
    """Predicts a text's glosses, and embeds those it drew."""

    def __init__(self, config: ModelConfig, glosses: int) -> None:
        super().__init__()
        self.slots = config.gloss_slots
        self.temperature = config.gumbel_temperature
        self.queries = nn.Parameter(torch.randn(config.gloss_slots, config.width) * 0.02)
        self.layers = decoder_layers(config, config.gloss_layers)
        self.logits = nn.Linear(config.width, glosses + 1)
        self.embedding = nn.Linear(glosses + 1, config.width, bias=False)

    def forward(
        self,
        memory: Tensor,
        memory_mask: Tensor,
        language: Tensor,
        known: Tensor | None = None,
        gumbel: Tensor | None = None,
    ) -> Glosses:
        """Predict from ``memory`` (B, L, W), with ``language`` (B, W) embedded.

        ``known`` (B, G) are the true glosses, which stand for those drawn; ``gumbel`` (B, G, C) is
        the noise of the draw.
        """
        count = len(memory)
        places = torch.arange(self.slots, device=memory.device)
        queries = self.queries + sinusoids(places, memory.shape[-1])
        states = self.layers(
            queries.expand(count, -1, -1) + language[:, None],
            memory,
            memory_key_padding_mask=~memory_mask,
        )
        logits: Tensor = self.logits(states)
        scores = logits.float() if gumbel is None else logits.float() + gumbel
        soft = (scores / self.temperature).softmax(-1)
        drawn = soft.argmax(-1)
        if known is not None:
            drawn = torch.where(known != NO_GLOSS, known, drawn)
        chosen = F.one_hot(drawn, soft.shape[-1]).to(soft.dtype)
        through = chosen - soft.detach() + soft
        return Glosses(
            logits=logits,
            embedded=self.embedding(through.to(logits.dtype)),
            mask=self._mask(logits.argmax(-1), known),
        )

    def _mask(self, chosen: Tensor, known: Tensor | None) -> Tensor:
        """(B, G) the slots before the end: the true one if it is known, else the predicted one.

        The first slot always counts, so that there is something to attend to.
        """
        if known is not None:
            given = (known != NO_GLOSS).any(1, keepdim=True)
            chosen = torch.where(given, known, chosen)
        mask = (chosen == END).cumsum(1) == 0
        mask[:, 0] = True
        return mask


def read_glosses(logits: Tensor, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the most likely glosses of each text by name, up to the end."""
    found = []
    for row in logits.argmax(-1).tolist():
        numbers = row[: row.index(END)] if END in row else row
        found.append(tuple(names[number - 1] for number in numbers))
    return found
