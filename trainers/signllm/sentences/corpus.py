"""Sentences of one split, whatever files hold them (numpy, no torch).

Shapes: N sentences, T frames, V = 150 values of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.samples import digest
from trainers.signllm.skeleton import JOINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PRELOAD_BYTES = 2 << 30  # corpora up to this size are held in memory
NECK, SHOULDER = JOINTS.index("neck"), JOINTS.index("right shoulder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """What a corpus knows of a sentence before its poses are read."""

    name: str
    language: str
    text: str
    gloss: tuple[str, ...] | None
    """The signs in order, by name; None if they were not written down."""
    frames: int

    def cut(self, most: int) -> Sentence:
        """Return it with no more than so many frames."""
        return self if self.frames <= most else replace(self, frames=most)


class Corpus:
    """The sentences of a split.

    ``read_file(row)`` gives the poses (T, 150) of a sentence as its file has them; a joint that
    was not seen has three values of NaN, or three of exactly 0. It raises TrainerError.
    """

    def __init__(
        self,
        source: str,
        split: str,
        sentences: list[Sentence],
        read_file: Callable[[int], NDArray[np.floating[Any]]],
        *,
        fps: float,
    ) -> None:
        self.source = source  # the folder, or the name of a built-in corpus
        self.split = split
        self.sentences = sentences
        self.fps = fps
        self.lengths = np.array([one.frames for one in sentences], dtype=np.int64)
        self._read_file = read_file
        keeps = int(self.lengths.sum()) * 150 * 4 <= PRELOAD_BYTES
        self._kept: dict[int, NDArray[np.float32]] | None = {} if keeps else None

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that occur, sorted."""
        return tuple(sorted({one.language for one in self.sentences}))

    @property
    def glosses(self) -> tuple[str, ...]:
        """The glosses that occur, sorted."""
        return tuple(sorted({word for one in self.sentences for word in one.gloss or ()}))

    def poses(self, row: int) -> NDArray[np.float32]:
        """Read the poses (T, 150) of a sentence; NaN where a joint was not seen.

        Raises:
            TrainerError: its file cannot be used.
        """
        if self._kept is not None and row in self._kept:
            return self._kept[row]
        poses = mark_unseen(self._read_file(row))
        if self._kept is not None:
            self._kept[row] = poses
        return poses

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {
            "source": self.source,
            "split": self.split,
            "sentences": len(self),
            "frames": int(self.lengths.sum()),
            "languages": list(self.languages),
            "fps": self.fps,
            "with_gloss": sum(one.gloss is not None for one in self.sentences),
            "digest": digest(
                [f"{one.language}/{one.name}" for one in self.sentences], self.lengths.tolist()
            ),
        }


def mark_unseen(poses: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return poses (T, 150) as float32 with NaN for each joint that was not seen.

    Files of 2D and 3D keypoints write a joint that was not found as exactly (0, 0, 0). The neck
    may really lie there, for it is the origin of normalised poses: it counts as seen if the
    shoulder is.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, so unseen
        joints = np.array(poses, dtype=np.float32).reshape(len(poses), -1, 3)
    finite = np.asarray(np.isfinite(joints).all(axis=2))
    unseen = ~finite | ~np.asarray(joints.any(axis=2))
    unseen[:, NECK] &= unseen[:, SHOULDER] | ~finite[:, NECK]
    joints[unseen] = np.nan
    return joints.reshape(len(poses), -1)
