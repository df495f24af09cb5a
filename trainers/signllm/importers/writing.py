"""What the imports of signllm share: folders of sentences, and poses in one measure (no torch).

Shapes: T frames, J = 50 joints, V = 150 values of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.samples import VALIDATION_SPLITS
from trainers.signllm.sentences.folders import write_words
from trainers.signllm.skeleton import COUNT, JOINTS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SPLITS = ("train", *VALIDATION_SPLITS, "test")
FPS = 25.0
SLOWEST, FASTEST = 1.0, 1000.0  # frames a second of a recording
LONGEST_NAME = 255  # bytes of a file's name
NECK = JOINTS.index("neck")
SHOULDERS = JOINTS.index("right shoulder"), JOINTS.index("left shoulder")


@dataclass(slots=True, kw_only=True)
class Summary(importing.Summary):
    """What an import did."""

    fps: float = FPS
    languages: dict[str, int] = field(default_factory=dict)
    """Sentences by language."""
    with_gloss: int = 0
    seen: float = 0.0
    """Share of joints and frames that were seen."""

    def check(self) -> None:
        """Refuse an import of nothing.

        Raises:
            TrainerError: no sentence was written.
        """
        if not self.clips:
            raise TrainerError("no sentence could be imported, nothing was written")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What is known of a sentence beside its poses; empty if it is not."""

    text: str
    gloss: tuple[str, ...] | None = None
    language: str = ""
    split: str = ""


def write_sentence(
    summary: Summary,
    folder: Path,
    name: str,
    words: Words,
    poses: NDArray[np.floating[Any]],
) -> None:
    """Write ``folder/LANGUAGE/SPLIT/NAME`` with text, gloss and poses (T, 150), and count it.

    Raises:
        UnusableError: no joint was seen, or there is such a sentence.
    """
    seen = float(np.isfinite(poses).mean()) if len(poses) else 0.0
    if not seen:
        raise UnusableError("no joint was seen in any frame")
    name = name.replace("/", "__").replace("\\", "__").lstrip(".")
    for what, folder_name in {"name": name, "language": words.language}.items():
        if not _can_be_folder(folder_name):
            raise UnusableError(f"its {what} {folder_name[:80]!r} cannot be the name of a folder")
    path = folder / words.language / words.split / name
    importing.write_clip(summary, path, {"pose": poses.astype(np.float32)})
    write_words(path, words.text, words.gloss)
    before = sum(summary.languages.values())
    summary.languages[words.language] = summary.languages.get(words.language, 0) + 1
    summary.with_gloss += words.gloss is not None
    summary.seen = round((summary.seen * before + seen) / (before + 1), 4)


def _can_be_folder(name: str) -> bool:
    """Whether a folder of this name can be made, is read again, and can be printed."""
    return (
        name.isprintable()
        and 0 < len(name.encode()) <= LONGEST_NAME
        and "/" not in name
        and name[0] != "."
    )


def normalise(poses: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Bring poses (T, 150) to the neck at the origin and shoulders of width 1.

    Place and size are medians over the sentence: the camera stands still, and the body may move.

    Raises:
        UnusableError: neck or shoulders were never seen.
    """
    joints = poses.reshape(len(poses), COUNT, 3)
    right, left = (joints[:, joint] for joint in SHOULDERS)
    widths = np.linalg.norm((right - left)[:, :2], axis=1)  # depth is often a guess
    widths, necks = widths[np.isfinite(widths)], joints[np.isfinite(joints[:, NECK, 0]), NECK]
    if not len(necks) or not len(widths) or not np.median(widths):
        raise UnusableError("neck and shoulders are seen in no frame, so there is no measure")
    placed: NDArray[np.floating[Any]] = (joints - np.median(necks, axis=0)) / np.median(widths)
    return placed.reshape(len(poses), -1)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every import of signllm has."""
    parser.add_argument(
        "--language", default="unknown", help="of files for which nothing else says it"
    )
    parser.add_argument("--splits", nargs="+", default=[], help="import these alone")
    parser.add_argument(
        *("--max-samples", "--max_samples"),
        type=int,
        help="import no more than this many sentences of each split (skels: and language)",
    )


def describe(summary: Summary) -> str:
    """Say what was imported, in a sentence."""
    by_language = ", ".join(f"{count:,} {name}" for name, count in summary.languages.items())
    return (
        f"languages: {by_language}; with gloss: {summary.with_gloss:,}; "
        f"joints seen: {summary.seen:.0%}"
    )


def first(items: Sequence[Path], most: int | None) -> list[Path]:
    """Return the first of a split's items.

    Raises:
        TrainerError: that would be none.
    """
    if most is not None and most < 1:
        raise TrainerError(f"--max-samples {most} leaves nothing to import")
    return list(items[:most])
