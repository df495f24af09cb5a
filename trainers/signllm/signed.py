"""Texts to poses by a trained model.

Shapes: T frames, V = 150 values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainers.engine.batches import to_device
from trainers.signllm.data import prompts
from trainers.signllm.model.gloss import read_glosses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.signllm.data import Tokenize, Vocabulary
    from trainers.signllm.model.model import SignModel

AT_ONCE = 16  # texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A text, and poses for it."""

    text: str
    language: str
    poses: NDArray[np.float32]
    """(T, V) in the units of the data; NaN where a joint was not seen."""
    fps: float
    gloss: tuple[str, ...] | None = None

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.poses) / self.fps

    @property
    def about(self) -> str:
        """The language, and the glosses if they are known."""
        return " · ".join(filter(None, [self.language, " ".join(self.gloss or ())]))


def sign(
    model: SignModel,
    wanted: Sequence[tuple[str, str]],
    *,
    vocabulary: Vocabulary,
    tokenize: Tokenize,
    fps: float,
    frames: int | None = None,
) -> list[Signed]:
    """Sign texts, each with its language, in so many frames or as many as the model finds.

    Raises:
        TrainerError: the model does not know a language.
    """
    numbers = [vocabulary.language(language) for _, language in wanted]
    device = model.mean.device
    found = []
    for start in range(0, len(wanted), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        texts = [text for text, _ in wanted[some]]
        given = to_device(prompts(texts, numbers[some], tokenize), device)
        lengths = None if frames is None else torch.full((len(texts),), frames, device=device)
        generated = model.generate(given, lengths)
        poses = model.denormalise(generated.poses).float().cpu().numpy()
        glosses = (
            [None] * len(texts)
            if generated.gloss is None
            else read_glosses(generated.gloss, vocabulary.glosses)
        )
        found += [
            Signed(text=text, language=language, poses=pose[:count], fps=fps, gloss=gloss)
            for (text, language), pose, count, gloss in zip(
                wanted[some], poses, generated.frames.tolist(), glosses, strict=True
            )
        ]
    return found
