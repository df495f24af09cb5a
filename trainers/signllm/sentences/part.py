"""What a folder's files hold: the sentences of one split in one language (numpy, no torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from trainers.signllm.sentences.corpus import Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Sentences, and what is wrong with those that cannot be used.

    ``read(row)`` gives the poses (T, 150) of a sentence, or raises UnusableError.
    """

    split: str
    language: str
    sentences: list[Sentence]
    places: list[str]
    """Where each sentence lies, as messages name it: a folder, or a file and its line."""
    read: Callable[[int], NDArray[np.floating[Any]]]
    unusable: dict[str, str] = field(default_factory=dict)
    """Why, by place: training stops at these."""
    incomplete: dict[str, str] = field(default_factory=dict)
    """What is missing, by place: training leaves these out."""
    notes: tuple[str, ...] = ()
    """What is worth saying about the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A language's splits; ``open_part(split)`` opens one of them, or raises TrainerError."""

    language: str
    splits: tuple[str, ...]
    open_part: Callable[[str], Part]
