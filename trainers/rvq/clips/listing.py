"""The clips of a split by name and length, as their files' first bytes tell (numpy, no torch).

`<root>/<split>/<clip>/pose.npy`: poses are not read, so a list of thousands takes no second.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.errors import MALFORMED, ConfigError, TrainerError
from trainers.engine.files import reason
from trainers.motion.skeleton import FPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

VALIDATION_SPLITS = ("val", "dev")
POSE = "pose.npy"
SKELETON = "skeleton.json"
READERS, PORTION = 8, 64  # threads that read heads, and clips that each takes at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The S clips of a split, sorted by name."""

    data: str
    """The data set's folder, or synthetic."""
    split: str
    names: tuple[str, ...]
    lengths: NDArray[np.int64]
    """(S,) frames."""
    fps: float

    @property
    def digest(self) -> str:
        """Changes when a clip is added, taken away, renamed or changes its length."""
        return digest(self.names, self.lengths.tolist())


def digest(names: Sequence[str], lengths: Iterable[int]) -> str:
    """Of a list of clips."""
    lines = "".join(f"{name} {length}\n" for name, length in zip(names, lengths, strict=True))
    return hashlib.sha256(os.fsencode(lines)).hexdigest()[:16]


def validation_split(root: Path, wanted: str = "auto") -> str:
    """Name the folder to validate on: val and dev are two names of one split."""
    if wanted != "auto":
        return wanted
    return next((name for name in VALIDATION_SPLITS if (root / name).is_dir()), "val")


def frame_rate(root: Path, given: float | None = None) -> float:
    """Frames a second: what skeleton.json says, else what is given, else 30.

    Raises:
        TrainerError: where the two differ, or skeleton.json does not say.
    """
    path = root / SKELETON
    if not path.is_file():
        return FPS if given is None else given
    try:
        said = float(json.loads(path.read_bytes()).get("fps", FPS))
        if not 0 < said < math.inf:
            raise ValueError
    except (OSError, *MALFORMED):
        raise TrainerError(
            f"{path} does not say the frame rate", "import the clips again"
        ) from None
    if given is not None and given != said:
        raise ConfigError(
            f"dataset.pose_fps is {given:g}, but {path} says {said:g}", "leave --pose-fps out"
        )
    return said


def clip_names(root: Path, split: str) -> list[str]:
    """Return the folders of a split, sorted.

    Raises:
        TrainerError: where there is no such split; it lists what there is.
    """
    if not root.is_dir():
        raise TrainerError(f"there is no data set at {root}", "give --data a folder, or synthetic")
    if not (root / split).is_dir():
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        raise TrainerError(
            f"{root} has no split {split}; it has: {there}",
            "a data set has train/ and val/ (or dev/), one folder a clip",
        )
    try:
        return sorted(name for name in os.listdir(root / split) if name[0] != ".")  # noqa: PTH208
    except OSError as error:
        raise TrainerError(f"{root / split} cannot be read: {reason(error)}") from None


def find_poses(
    root: Path,
    split: str,
    max_samples: int | None = None,
    seen: Callable[[list[str]], Iterable[str]] = iter,
) -> tuple[list[str], list[npy.Head]]:
    """Return the clips of a split that have a pose, and the heads of these.

    Raises:
        TrainerError: naming the folder or the file, for whatever cannot be trained on.
    """
    found = list(islice(_with_pose(root, split, seen), max_samples))
    if not found:
        raise TrainerError(f"{root / split} has no clip: no */{POSE}", "import or copy clips there")
    names, heads = (list(part) for part in zip(*found, strict=True))
    width = heads[0].shape[1]
    for name, head in zip(names, heads, strict=True):
        if head.shape[1] != width:
            raise TrainerError(
                f"{root / split / name / POSE} has {head.shape[1]} values a frame, "
                f"{root / split / names[0] / POSE} has {width}",
                "all clips of a data set need the same joints",
            )
    return names, heads


def list_clips(
    root: Path,
    split: str,
    max_samples: int | None = None,
    *,
    pose_fps: float | None = None,
    seen: Callable[[list[str]], Iterable[str]] = iter,
) -> Listing:
    """List a split; `seen` may watch the names go by. Raises what `find_poses` does."""
    names, heads = find_poses(root, split, max_samples, seen)
    return Listing(
        data=str(root),
        split=split,
        names=tuple(names),
        lengths=np.array([head.shape[0] for head in heads], dtype=np.int64),
        fps=frame_rate(root, pose_fps),
    )


def pose_head(path: str) -> npy.Head:
    """Read what a pose's file says of itself.

    Raises:
        TrainerError: naming the file, where it cannot be trained on.
        FileNotFoundError, NotADirectoryError: where there is none.
    """
    try:
        head = npy.read_head(path)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (npy.ArrayError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise TrainerError(
            f"{path} cannot be read: {why}", "write the clip again, or take its folder out"
        ) from None
    if head.dtype.kind != "f":
        raise TrainerError(f"{path} does not hold floating point numbers", f"{POSE} is float32")
    shape = head.shape
    if len(shape) != 2 or shape[1] % 3 or not all(shape):
        raise TrainerError(
            f"{path} has shape {shape}, (frames, joints * 3) is wanted",
            "one row a frame, three axis-angle values a joint",
        )
    return head


def _with_pose(
    root: Path, split: str, seen: Callable[[list[str]], Iterable[str]]
) -> Iterator[tuple[str, npy.Head]]:
    """Read the heads of the clips that have a pose, in order, several at a time.

    A disk answers many at once, so that not each has to wait for the one before.
    """
    names = iter(seen(clip_names(root, split)))
    portions = iter(lambda: list(islice(names, PORTION)), [])
    with ThreadPoolExecutor(READERS) as pool:
        read = partial(_heads, f"{root}/{split}")
        for portion in pool.map(read, portions):
            yield from portion


def _heads(folder: str, names: list[str]) -> list[tuple[str, npy.Head]]:
    found = []
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError):
            found.append((name, pose_head(f"{folder}/{name}/{POSE}")))
    return found
