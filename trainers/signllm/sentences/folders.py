"""Sentences as folders LANGUAGE/SPLIT/NAME: text.txt, gloss.txt, pose.npy or pose.json (no torch).

`pose.npy` holds (T, 150) floating point numbers, NaN if a joint was not seen; imports write it.
`pose.json` is of the public SignLLM code: a list of frames with 24, 63 and 63 values of body, left
hand and right hand, three of a joint although their names end in 2d, and a face that is not used.
Source: final_convert_data.py of github.com/zhuchengyao/SignEggRoll (2b8d75a).
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.files import load_json, open_regular, reason
from trainers.engine.samples import READERS, map_array, read_array_head
from trainers.signllm.sentences.corpus import Sentence
from trainers.signllm.sentences.lines import decode, decode_text, read_file
from trainers.signllm.sentences.part import Part
from trainers.signllm.skeleton import VALUES

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT, GLOSS, POSE, POSE_JSON = "text.txt", "gloss.txt", "pose.npy", "pose.json"
IMPORT = "import.json"  # what an import left in the root: it says the frames a second
PARTS = {
    "pose_keypoints_2d": 24,
    "hand_left_keypoints_2d": 63,
    "hand_right_keypoints_2d": 63,
}
LOOKED_AT = 100  # folders of a split that are searched for a text
TAIL = 300  # bytes at the end of a pose.json, which tell the number of frames


class IncompleteError(Exception):
    """A folder lacks a file; the words say which."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of a sentence before its poses are read."""

    text: str
    gloss: tuple[str, ...] | None
    frames: int


def split_names(folder: Path) -> tuple[str, ...]:
    """Return the subfolders that hold sentences, sorted; none of a folder that may not be read."""
    try:
        return tuple(sorted(entry.name for entry in subfolders(folder) if _has_text(entry)))
    except TrainerError:
        return ()


def open_part(folder: Path, split: str, language: str) -> Part:
    """Open a split. Heads are read, poses when they are wanted.

    Raises:
        TrainerError: the folder cannot be read.
    """
    folders = sorted(subfolders(folder / split))
    sentences, places, kept = [], [], []
    unusable, incomplete = {}, {}
    with ThreadPoolExecutor(READERS) as pool:
        for path, found in zip(folders, pool.map(_look_into, folders), strict=True):
            if isinstance(found, _Head):
                sentences.append(
                    Sentence(
                        name=path.name,
                        language=language,
                        text=found.text,
                        gloss=found.gloss,
                        frames=found.frames,
                    )
                )
                places.append(str(path))
                kept.append(path)
            elif isinstance(found, IncompleteError):
                incomplete[str(path)] = str(found)
            else:
                unusable[str(path)] = str(found)
    return Part(
        split=split,
        language=language,
        sentences=sentences,
        places=places,
        read=lambda row: _read_poses(kept[row]),
        unusable=unusable,
        incomplete=incomplete,
    )


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in it that are not hidden.

    Raises:
        TrainerError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_dir()
            ]
    except OSError as error:
        raise TrainerError(f"{folder} cannot be read: {reason(error)}") from None


def write_words(folder: Path, text: str, gloss: tuple[str, ...] | None) -> None:
    """Write a sentence's text, and its gloss if it is known."""
    (folder / TEXT).write_text(text + "\n", encoding="utf-8")
    if gloss is not None:
        (folder / GLOSS).write_text(" ".join(gloss) + "\n", encoding="utf-8")


def _has_text(folder: Path) -> bool:
    """Whether one of the first folders in it is a sentence, as far as it can be read."""
    try:
        return any((path / TEXT).is_file() for path in islice(subfolders(folder), LOOKED_AT))
    except (TrainerError, PermissionError):
        return False


def _look_into(folder: Path) -> _Head | UnusableError | IncompleteError:
    try:
        return _read_head(folder)
    except (UnusableError, IncompleteError) as error:
        return error
    except TrainerError as error:
        return UnusableError(error.message.removeprefix(f"{folder}/"))


def _read_head(folder: Path) -> _Head:
    if not (folder / TEXT).exists():
        raise IncompleteError(f"it has no {TEXT}")
    if not (folder / POSE).exists() and not (folder / POSE_JSON).exists():
        raise IncompleteError(f"it has no {POSE} and no {POSE_JSON}")
    text = _words(folder / TEXT, decode_text)
    gloss = _words(folder / GLOSS, decode) if (folder / GLOSS).exists() else ""
    in_array = (folder / POSE).exists()
    frames = array_head(folder / POSE).shape[0] if in_array else _frames(folder / POSE_JSON)
    if not frames:
        raise UnusableError("it has 0 frames")
    return _Head(text, tuple(gloss.split()) or None, frames)


def _words(path: Path, parse: Any) -> str:
    try:
        return str(parse(read_file(path)))
    except UnusableError as error:
        raise UnusableError(f"{path.name}: {error}") from None


def array_head(path: Path) -> npy.Head:
    """Read the head of a pose.npy; raises TrainerError if it cannot be poses."""
    head = read_array_head(str(path))
    if len(head.shape) != 2 or head.shape[1] != VALUES:
        raise TrainerError(f"{path} has shape {head.shape}, (frames, {VALUES}) is wanted")
    return head


def _frames(path: Path) -> int:
    """Read the number of frames at the end of a pose.json, or count them."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            found = re.search(rb'"num_frames"\s*:\s*(\d{1,9})\b', file.read())
            if found:
                return int(found[1])
            file.seek(0)
            return file.read().count(b'"pose_keypoints_2d"')
    except OSError as error:
        raise UnusableError(f"{path.name} cannot be read: {reason(error)}") from None


def _read_poses(folder: Path) -> NDArray[np.floating[Any]]:
    """(T, 150) of a sentence."""
    try:
        if (folder / POSE).exists():
            return np.array(map_array(folder / POSE, array_head(folder / POSE)))
        return _read_json(folder / POSE_JSON)
    except TrainerError as error:
        raise UnusableError(error.message.removeprefix(f"{folder}/")) from None


def _read_json(path: Path) -> NDArray[np.float64]:
    found = load_json(path)
    try:
        frames, promised = found["poses"], found.get("num_frames")
        rows = [[frame[part] for part in PARTS] for frame in frames]
    except MALFORMED as error:
        raise UnusableError(
            f"{path.name} does not hold frames with {', '.join(PARTS)} ({type(error).__name__})"
        ) from None
    if not rows or promised not in (None, len(rows)):
        raise UnusableError(f"{path.name} has {len(rows)} poses, num_frames is {promised}")
    poses = np.empty((len(rows), VALUES))
    for number, row in enumerate(rows):
        for (part, width), values in zip(PARTS.items(), row, strict=True):
            if not isinstance(values, list) or len(values) != width:
                count = len(values) if isinstance(values, list) else "no"
                raise UnusableError(
                    f"{path.name}, frame {number}: {part} has {count} values, {width} are wanted"
                )
        try:
            poses[number] = np.concatenate([np.asarray(values, dtype=np.float64) for values in row])
        except MALFORMED:
            raise UnusableError(f"{path.name}, frame {number} holds no numbers") from None
    return poses
