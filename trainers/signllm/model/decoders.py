"""From what the signer says to poses: (B, S, W) memory -> (B, T, V) normalised poses.

Two ways to the same answer, with one interface. ``ParallelDecoder`` asks for all frames at once,
each by its progress counter; ``AutoregressiveDecoder`` gives each frame from those before it, and
ends by its counter.

Shapes: B sentences, S tokens or glosses, T frames, K languages, V = 150 values, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.signllm.model.text import decoder_layers, sinusoids
from trainers.signllm.model.timing import TOKEN_SCALE, counters, locate, progress_code
from trainers.signllm.skeleton import VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainers.signllm.config import ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the signer says: encoded tokens or glosses, and the language."""

    states: Tensor  # (B, S, W)
    mask: Tensor  # (B, S)
    language: Tensor  # (B,) numbers
    languages: tuple[int, ...]  # the same, known without asking a GPU
    embedded: Tensor  # (B, W) the languages
    durations: Tensor  # (B, S) of the tokens, in any unit; 0 where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Poses, and what the decoder thinks of them."""

    poses: Tensor  # (B, T, V) normalised
    quality: Tensor  # (B, T) in 0..1, the priority channel
    counter: Tensor | None  # (B, T) in 0..1, of a decoder that must find its own end


class PoseHead(nn.Module):
    """States of frames -> poses and qualities, by a matrix of each language's own.

    The quality scales the state that the pose is read from, so it matters to every loss.
    """

    def __init__(self, config: ModelConfig, languages: int) -> None:
        super().__init__()
        self.quality = nn.Linear(config.width, 1)
        self.weight = nn.Parameter(torch.randn(languages, config.width, VALUES) * 0.02)
        self.bias = nn.Parameter(torch.zeros(languages, VALUES))

    def forward(self, states: Tensor, language: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, W) -> (B, T, V), (B, T)."""
        quality = self.quality(states).sigmoid()
        weight = self.weight.index_select(0, language).to(states.dtype)
        poses = (2 * quality * states) @ weight + self.bias[language][:, None]
        return poses, quality[..., 0]


class ParallelDecoder(nn.Module):
    """All frames at once.

    A frame asks by its progress, by its place from either end, and by the token that is its turn
    and how much of it is over.
    """

    def __init__(self, config: ModelConfig, languages: int) -> None:
        super().__init__()
        width = self.width = config.width
        self.code = width // 4 * 2
        self.asked = nn.Linear(width + 4 * self.code, width)
        self.query = nn.Sequential(nn.GELU(), nn.Linear(width, width))
        self.layers = decoder_layers(config, config.layers)
        self.head = PoseHead(config, languages)

    def forward(
        self, memory: Memory, frames: Tensor, poses: Tensor, _noise: Tensor | None = None
    ) -> Decoded:
        """Give as many frames as ``poses`` (B, T, V) has; sentence b has ``frames[b]`` of them."""
        return self._decode(memory, frames, poses.shape[1])

    def generate(self, memory: Memory, frames: Tensor, _most: int | None) -> tuple[Tensor, Tensor]:
        """Give poses (B, T, V) of ``frames`` (B,), and these."""
        return self._decode(memory, frames, int(frames.max())).poses, frames

    def _decode(self, memory: Memory, frames: Tensor, count: int) -> Decoded:
        states = self.layers(
            self._queries(memory, frames, count) + memory.embedded[:, None],
            memory.states,
            tgt_key_padding_mask=torch.arange(count, device=frames.device) >= frames[:, None],
            memory_key_padding_mask=~memory.mask,
        )
        poses, quality = self.head(states, memory.language)
        return Decoded(poses=poses, quality=quality, counter=None)

    def _queries(self, memory: Memory, frames: Tensor, count: int) -> Tensor:
        """(B, T, W) what the frames ask."""
        places = torch.arange(count, device=frames.device)
        from_end = (frames[:, None] - 1 - places).clamp_min(0)
        counter = counters(frames, count)
        weights, over = locate(memory.durations, memory.mask, frames, count)
        states = memory.states
        # A linear map of five parts side by side, of each part where there is the least of it.
        parts = [self.width, *[self.code] * 4]
        by_token, *by_code = self.asked.weight.split(parts, dim=1)
        place = sinusoids(places, self.code).to(states.dtype)
        progress = progress_code(counter, self.code).to(states.dtype)
        inside = sinusoids(over * TOKEN_SCALE, self.code).to(states.dtype)
        asked = (
            weights.to(states.dtype) @ F.linear(states, by_token)
            + F.linear(progress, by_code[0], self.asked.bias)
            + F.linear(place, by_code[1])
            + F.embedding(from_end, F.linear(place, by_code[2]))
            + F.linear(inside, by_code[3])
        )
        queries: Tensor = self.query(asked)
        return queries + progress_code(counter, self.width).to(states.dtype)


class AutoregressiveDecoder(nn.Module):
    """Each frame from those before it; the counter says how far the sentence has come."""

    def __init__(self, config: ModelConfig, languages: int) -> None:
        super().__init__()
        self.width = config.width
        self.inward = nn.Linear(VALUES + 1, config.width)
        self.layers = decoder_layers(config, config.layers)
        self.head = PoseHead(config, languages)
        self.counter = nn.Linear(config.width, 1)

    def forward(
        self, memory: Memory, frames: Tensor, poses: Tensor, noise: Tensor | None = None
    ) -> Decoded:
        """Give each frame from the true ones before it, with ``noise`` (B, T, V) on them.

        Noise of NaN leaves a frame out.
        """
        before = F.pad(poses[:, :-1], (0, 0, 1, 0))
        if noise is not None:
            before = (before + noise).nan_to_num(0.0)
        counter = counters(frames, poses.shape[1]).to(poses.dtype)
        return self._decode(memory, before, F.pad(counter[:, :-1], (1, 0)))

    def generate(self, memory: Memory, frames: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """Give poses (B, T, V) and their numbers of frames (B,).

        Each sentence ends where its counter reaches 1, or at ``most`` frames; without ``most``, at
        its ``frames`` (B,).
        """
        count = len(memory.states)
        poses = memory.states.new_zeros(count, 1, VALUES)  # in front of the first frame
        counter = memory.states.new_zeros(count, 1)
        ends = frames if most is None else torch.full_like(frames, most)
        for frame in range(1, int(ends.max()) + 1):
            found = self._decode(memory, poses, counter)
            if found.counter is None:
                break
            poses = torch.cat([poses, found.poses[:, -1:]], dim=1)
            counter = torch.cat([counter, found.counter[:, -1:]], dim=1)
            if most is not None:
                # Frame n of n has 1, and of n + 1 it has 1 - 1 / n: half-way between.
                done = counter[:, -1] >= 1 - 0.5 / frame
                ends = torch.where(done & (ends == most) & (frame > 1), frame, ends)
                if bool((ends <= frame).all()):
                    break
        return poses[:, 1:], ends

    def _decode(self, memory: Memory, before: Tensor, counter: Tensor) -> Decoded:
        places = torch.arange(before.shape[1], device=before.device)
        given = self.inward(torch.cat([before, counter[..., None]], dim=-1))
        states = self.layers(
            given + sinusoids(places, self.width) + memory.embedded[:, None],
            memory.states,
            tgt_mask=places[None, :] > places[:, None],
            tgt_is_causal=True,
            memory_key_padding_mask=~memory.mask,
        )
        poses, quality = self.head(states, memory.language)
        return Decoded(poses=poses, quality=quality, counter=self.counter(states)[..., 0].sigmoid())


class PerLanguageDecoder(nn.Module):
    """A decoder for each language, as the public SignLLM has them."""

    def __init__(
        self,
        kind: type[ParallelDecoder | AutoregressiveDecoder],
        config: ModelConfig,
        languages: int,
    ) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(kind(config, 1) for _ in range(languages))

    def forward(
        self, memory: Memory, frames: Tensor, poses: Tensor, noise: Tensor | None = None
    ) -> Decoded:
        """Decode each sentence by its language's decoder.

        Decoders of languages that the batch lacks get gradients of zero, so that ranks whose
        batches hold different languages exchange the same gradients.
        """
        idle = torch.zeros((), device=poses.device)
        parts: list[tuple[Tensor, Decoded]] = []
        for rows, decoder, own in self._split(memory):
            if len(rows):
                given = None if noise is None else noise[rows]
                parts.append((rows, decoder(own, frames[rows], poses[rows], given)))
            else:
                idle = idle + sum(0 * parameter.sum() for parameter in decoder.parameters())
        order = torch.cat([rows for rows, _ in parts]).argsort()
        found = [decoded for _, decoded in parts]
        counted = [one.counter for one in found if one.counter is not None]
        return Decoded(
            poses=torch.cat([one.poses for one in found])[order] + idle,
            quality=torch.cat([one.quality for one in found])[order],
            counter=torch.cat(counted)[order] if counted else None,
        )

    def generate(self, memory: Memory, frames: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """Give poses (B, T, V) and their numbers of frames (B,)."""
        parts = [
            (rows, *decoder.generate(own, frames[rows], most))
            for rows, decoder, own in self._split(memory)
            if len(rows)
        ]
        longest = max(poses.shape[1] for _, poses, _ in parts)
        padded = [F.pad(poses, (0, 0, 0, longest - poses.shape[1])) for _, poses, _ in parts]
        order = torch.cat([rows for rows, _, _ in parts]).argsort()
        return torch.cat(padded)[order], torch.cat([ends for _, _, ends in parts])[order]

    def _split(self, memory: Memory) -> Iterator[tuple[Tensor, Any, Memory]]:
        for number, decoder in enumerate(self.decoders):
            mine = [row for row, one in enumerate(memory.languages) if one == number]
            rows = torch.tensor(mine, dtype=torch.long, device=memory.states.device)
            own = Memory(
                states=memory.states[rows],
                mask=memory.mask[rows],
                language=torch.zeros_like(rows),
                languages=(0,) * len(mine),
                embedded=memory.embedded[rows],
                durations=memory.durations[rows],
            )
            yield rows, decoder, own


def build_decoder(
    config: ModelConfig, languages: int
) -> ParallelDecoder | AutoregressiveDecoder | PerLanguageDecoder:
    """Build the decoder that the settings name."""
    kind = ParallelDecoder if config.decoding == "parallel" else AutoregressiveDecoder
    if config.decoder == "per-language":
        return PerLanguageDecoder(kind, config, languages)
    return kind(config, languages)
