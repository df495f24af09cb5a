"""Sentences as the training loop wants them: tokens, normalised poses, batches, statistics.

Shapes: B sentences, L tokens of a text, G glosses, T frames, J = 50 joints, V = 150 values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.batches import item_rng, length_buckets, pinned
from trainers.engine.errors import TrainerError
from trainers.engine.masked import StepLengths, step_lengths
from trainers.engine.statistics import Statistics
from trainers.signllm.skeleton import VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainers.signllm.config import Config
    from trainers.signllm.sentences.corpus import Corpus, Sentence

    Tokenize = Callable[[str], list[int]]

END = 0  # the gloss after the last one
NO_GLOSS = -100  # a slot that nothing is known of: cross_entropy leaves it out


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model can say: its languages and its glosses, by number."""

    languages: tuple[str, ...]
    glosses: tuple[str, ...]

    def language(self, name: str) -> int:
        """Return the number of a language.

        Raises:
            TrainerError: the model was not trained on it.
        """
        if name not in self.languages:
            raise TrainerError(
                f"the model does not know the language {name}",
                f"it knows {', '.join(self.languages)}",
            )
        return self.languages.index(name)

    def to_dict(self) -> dict[str, list[str]]:
        """Return what vocabulary.json holds."""
        return {"languages": list(self.languages), "glosses": list(self.glosses)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Texts to be signed, padded to the longest."""

    tokens: Tensor  # (B, L) numbers, 0 where there is none
    text_mask: Tensor  # (B, L) whether there is a token
    language: Tensor  # (B,) numbers
    languages: tuple[int, ...]  # the same, known without asking a GPU

    def pin_memory(self) -> Prompts:
        """Return them in memory that a GPU copies from in the background."""
        return pinned(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignBatch:
    """Sentences of one padded length, with their poses."""

    prompts: Prompts
    gloss: Tensor  # (B, G) numbers from 1, END behind the last; NO_GLOSS where nothing is known
    poses: Tensor  # (B, T, V) normalised; 0 where a joint was not seen
    seen: Tensor  # (B, T, J) whether a joint was seen; False behind the end of a sentence
    frames: Tensor  # (B,) of each sentence
    lengths: StepLengths | None = None  # if sentences of any rank are padded
    gumbel: Tensor | None = None  # (B, G, C) noise for the draw of glosses
    noise: Tensor | None = None  # (B, T, V) on the frames before, which autoregression is given

    @property
    def mask(self) -> Tensor:
        """(B, T) whether there is a frame."""
        return torch.arange(self.poses.shape[1], device=self.frames.device) < self.frames[:, None]

    def pin_memory(self) -> SignBatch:
        """Return the batch in memory that a GPU copies from in the background."""
        return pinned(self)


class SignData:
    """One split as batches: sentences by number, tokenised, normalised, padded."""

    def __init__(
        self,
        corpus: Corpus,
        config: Config,
        vocabulary: Vocabulary,
        statistics: Statistics,
        tokenize: Tokenize,
    ) -> None:
        self.corpus = corpus
        self.vocabulary = vocabulary
        self.config = config
        self.tokenize = tokenize
        self.frames = corpus.lengths
        self._mean, self._std = statistics.mean, statistics.std
        self._gloss = {word: number for number, word in enumerate(vocabulary.glosses, start=1)}
        self._language = [vocabulary.language(one.language) for one in corpus.sentences]
        self.padded = self.frames

    def bucket(self, global_batch: int) -> NDArray[np.int64]:
        """Choose the lengths (N,) to which batches of so many sentences are padded."""
        self.padded = length_buckets(self.frames, global_batch)
        return self.padded

    def load(
        self,
        rows: NDArray[np.int64],
        seeds: NDArray[np.uint64] | None = None,
        together: NDArray[np.int64] | None = None,
    ) -> SignBatch:
        """Return sentences by number; with ``seeds`` also the noise that training needs.

        ``together`` are the sentences of the whole step.
        """
        poses = [self.corpus.poses(int(row)) for row in rows]
        count = max(map(len, poses))
        normalised = np.zeros((len(rows), count, VALUES), dtype=np.float32)
        seen = np.zeros((len(rows), count, VALUES // 3), dtype=bool)
        for row, pose in enumerate(poses):
            there = np.isfinite(pose)
            normalised[row, : len(pose)] = np.where(there, (pose - self._mean) / self._std, 0)
            seen[row, : len(pose)] = there[:, ::3]
        sentences = [self.corpus.sentences[int(row)] for row in rows]
        batch = SignBatch(
            prompts=self.prompts(
                [one.text for one in sentences], [self._language[int(row)] for row in rows]
            ),
            gloss=torch.from_numpy(self._glosses(sentences)),
            poses=torch.from_numpy(normalised),
            seen=torch.from_numpy(seen),
            frames=torch.from_numpy(self.frames[rows]),
            lengths=step_lengths(self.frames, self.padded, rows, together),
        )
        return batch if seeds is None else replace(batch, **self._noise(batch, seeds))

    def frames_per_token(self) -> float:
        """Return the mean frames of a token that the pose decoder attends to."""
        glossed = self.config.model.mode == "prompt2langgloss"
        tokens = [
            len(one.gloss) if glossed and one.gloss else len(self.tokenize(one.text))
            for one in self.corpus.sentences
        ]
        return float(self.frames.sum() / max(1, sum(tokens)))

    def prompts(self, texts: Sequence[str], languages: Sequence[int]) -> Prompts:
        """Return texts as tokens."""
        return prompts(texts, languages, self.tokenize)

    def _glosses(self, sentences: Sequence[Sentence]) -> NDArray[np.int64]:
        slots = self.config.model.gloss_slots
        numbers = np.full((len(sentences), slots), NO_GLOSS, dtype=np.int64)
        for row, one in enumerate(sentences):
            if one.gloss is not None:
                known = [self._gloss.get(word, NO_GLOSS) for word in one.gloss[:slots]]
                numbers[row, : len(known)] = known
                numbers[row, len(known) : len(known) + 1] = END
        return numbers

    def _noise(self, batch: SignBatch, seeds: NDArray[np.uint64]) -> dict[str, Any]:
        """Draw each sentence's noise from its own seed, so that it does not depend on ranks."""
        model = self.config.model
        drawn: dict[str, list[NDArray[np.float32]]] = {}
        for seed, frames in zip(seeds, batch.frames.tolist(), strict=True):
            rng = item_rng(seed)
            if model.mode == "prompt2langgloss":
                classes = len(self.vocabulary.glosses) + 1
                waits = rng.standard_exponential((model.gloss_slots, classes), np.float32)
                drawn.setdefault("gumbel", []).append(-np.log(np.maximum(waits, 1e-20)))
            if model.decoding == "autoregressive":
                noise = np.zeros((batch.poses.shape[1], VALUES), dtype=np.float32)
                noise[:frames] = rng.standard_normal((frames, VALUES), np.float32)
                noise[:frames][rng.random(frames) < model.input_drop] = np.nan
                drawn.setdefault("noise", []).append(model.input_noise * noise)
        return {name: torch.from_numpy(np.stack(parts)) for name, parts in drawn.items()}


def prompts(texts: Sequence[str], languages: Sequence[int], tokenize: Tokenize) -> Prompts:
    """Return texts, each with the number of its language, as tokens padded to the longest."""
    found = [tokenize(text) for text in texts]
    lengths = torch.tensor([len(tokens) for tokens in found])
    tokens = torch.zeros(len(found), int(lengths.max()), dtype=torch.long)
    for row, numbers in zip(tokens, found, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return Prompts(
        tokens=tokens,
        text_mask=torch.arange(tokens.shape[1]) < lengths[:, None],
        language=torch.tensor(languages),
        languages=tuple(languages),
    )


def statistics_of(corpus: Corpus, floor: float) -> Statistics:
    """Mean and deviation (150,) of the values that were seen.

    No deviation is below ``floor`` times that of all values.
    """
    count = np.zeros(VALUES)
    total, squares = np.zeros(VALUES), np.zeros(VALUES)
    for row in range(len(corpus)):
        pose = corpus.poses(row).astype(np.float64)
        there = np.isfinite(pose)
        count += there.sum(axis=0)
        total += np.where(there, pose, 0).sum(axis=0)
        squares += np.where(there, pose**2, 0).sum(axis=0)
    if not count.any():
        raise TrainerError(
            f"no joint was seen in any frame of {corpus.source}, split {corpus.split}",
            "look at its poses: all of them are zero or not finite",
        )
    known = np.maximum(count, 1)
    mean = total / known
    variance = np.maximum(squares / known - mean**2, 0)
    overall = np.sqrt((variance * count).sum() / count.sum())
    std = np.maximum(np.sqrt(variance), max(floor * overall, 1e-6)).astype(np.float32)
    average: NDArray[np.float32] = np.asarray(mean, dtype=np.float32)
    return Statistics(mean=average, std=std, baseline=average)
