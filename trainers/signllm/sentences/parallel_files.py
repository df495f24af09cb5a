"""Parallel text files of ProgressiveTransformers: SPLIT.{text,gloss,skels,files} (no torch).

Each line is a sentence. A line of .skels holds T frames, each of 150 values and, in most files, a
counter that rises from 0 to 1; files without it are read too. They may be larger than memory: only
the place of each line is kept, and numbers are parsed when a sentence is read.
Source: github.com/BenSaunders27/ProgressiveTransformersSLP, Data/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.files import reason
from trainers.signllm.sentences.corpus import Sentence
from trainers.signllm.sentences.lines import decode, decode_text, read_file, split_lines
from trainers.signllm.sentences.part import Part
from trainers.signllm.skeleton import VALUES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SKELS = ".skels"
WITH_COUNTER = VALUES + 1
SPACE = ord(" ")  # the bytes below it are blank too
ROUNDING = 1e-3  # a counter is written with a few digits
LAYOUT = "a frame is 150 values, or 150 values and a counter, separated by spaces"


def split_names(folder: Path) -> tuple[str, ...]:
    """Return the splits that have a .skels file in the folder, sorted."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{SKELS}") if path.is_file()))


def open_part(folder: Path, split: str, language: str) -> Part:
    """Open a split.

    Raises:
        TrainerError: a file is missing or cannot be read, or the files differ in lines.
    """
    lines = {kind: _lines(folder / f"{split}.{kind}") for kind in ("text", "gloss", "files")}
    skels = folder / f"{split}{SKELS}"
    starts, numbers = _index(skels)
    count = len(numbers)
    if lines["text"] is None:
        raise TrainerError(
            f"{folder} has {skels.name} but no {split}.text", "each of its lines is a sentence"
        )
    for kind, found in lines.items():
        if found is not None and len(found) != count:
            raise TrainerError(
                f"{folder / split}.{kind} has {len(found):,} lines, {skels.name} has {count:,}",
                f"line {min(len(found), count) + 1} is the first without its counterpart",
            )

    width = _frame_width(skels, starts, numbers)
    words = _Words(folder, split, lines)
    sentences, places, rows = [], [], []
    for row in range(count):
        place = f"{skels} line {row + 1}"
        found_words = words.read(row)
        if not numbers[row]:
            words.unusable[place] = "it has 0 frames"
        elif numbers[row] % width:
            words.unusable[place] = (
                f"it holds {numbers[row]:,} numbers, which do not make frames of {width}; {LAYOUT}"
            )
        elif found_words is not None:
            name, text, gloss = found_words
            frames = int(numbers[row] // width)
            sentences.append(
                Sentence(name=name, language=language, text=text, gloss=gloss, frames=frames)
            )
            places.append(place)
            rows.append(row)

    def read(row: int) -> NDArray[np.floating[Any]]:
        return _poses(_read_line(skels, starts, rows[row]), width)

    without = f"{skels} has no counter, only 150 values a frame: the place of a frame stands for it"
    return Part(
        split=split,
        language=language,
        sentences=sentences,
        places=places,
        read=read,
        unusable=words.unusable,
        notes=(without,) if width == VALUES else (),
    )


class _Words:
    """Name, text and gloss by line; what cannot be read is noted in ``unusable``."""

    def __init__(self, folder: Path, split: str, lines: dict[str, list[bytes] | None]) -> None:
        self.lines, self.folder, self.split = lines, folder, split
        self.unusable: dict[str, str] = {}

    def read(self, row: int) -> tuple[str, str, tuple[str, ...] | None] | None:
        name, text, gloss = (self._line(kind, row) for kind in ("files", "text", "gloss"))
        if text is None:
            return None
        name = (name or "").removeprefix(f"{self.split}/") or f"{row + 1:06d}"
        return name, text, tuple(gloss.split()) if gloss else None

    def _line(self, kind: str, row: int) -> str | None:
        lines = self.lines[kind]
        if lines is None:
            return None
        try:
            return (decode_text if kind == "text" else decode)(lines[row])
        except UnusableError as error:
            self.unusable[f"{self.folder / self.split}.{kind} line {row + 1}"] = str(error)
            return None


def _lines(path: Path) -> list[bytes] | None:
    """Return the lines of a file, None if there is none."""
    return split_lines(read_file(path)) if path.exists() else None


def _index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each line begins (N + 1,), and how many numbers it holds (N,)."""
    starts, numbers = [0], []
    try:
        with path.open("rb") as file:
            for line in file:
                starts.append(starts[-1] + len(line))
                numbers.append(_count_numbers(line))
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}") from None
    while numbers and not numbers[-1]:  # empty lines at the end do not count
        numbers.pop()
    return np.array(starts[: len(numbers) + 1]), np.array(numbers, dtype=np.int64)


def _count_numbers(line: bytes) -> int:
    """Count numbers without parsing them: each begins after a blank, or with the line."""
    blank = np.frombuffer(line, dtype=np.uint8) <= SPACE
    return int(np.count_nonzero(blank[:-1] > blank[1:])) + int(not blank[0])


def _frame_width(path: Path, starts: NDArray[np.int64], numbers: NDArray[np.int64]) -> int:
    """Decide whether frames have a counter: by what most lines divide by.

    A line that divides by both (150 frames with a counter are 151 without) has a counter if the
    last value of its frames rises from 0 to at most 1.
    """
    there = numbers[numbers > 0]
    fits = {width: int((there % width == 0).sum()) for width in (WITH_COUNTER, VALUES)}
    if fits[WITH_COUNTER] != fits[VALUES] or not fits[VALUES]:
        return WITH_COUNTER if fits[WITH_COUNTER] >= fits[VALUES] else VALUES
    row = int(np.flatnonzero((numbers > 0) & (numbers % WITH_COUNTER == 0))[0])
    try:
        counter = _parse(_read_line(path, starts, row)).reshape(-1, WITH_COUNTER)[:, -1]
    except UnusableError:
        return WITH_COUNTER
    rises = np.abs(counter[0]) <= ROUNDING and (np.diff(counter, append=1 + ROUNDING) >= 0).all()
    return WITH_COUNTER if rises else VALUES


def _read_line(path: Path, starts: NDArray[np.int64], row: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(int(starts[row]))
            return file.read(int(starts[row + 1] - starts[row]))
    except OSError as error:
        raise UnusableError(f"it cannot be read: {reason(error)}") from None


def _parse(line: bytes) -> NDArray[np.float64]:
    try:
        return np.array(line.split(), dtype=np.float64)
    except ValueError as error:
        raise UnusableError(f"it holds something that is not a number ({error})") from None


def _poses(line: bytes, width: int) -> NDArray[np.float64]:
    """(T, 150) of a line.

    Raises:
        UnusableError: it does not hold such frames.
    """
    values = _parse(line)
    if not len(values) or len(values) % width:
        raise UnusableError("it has changed since it was opened")
    frames = values.reshape(-1, width)
    if width == WITH_COUNTER:
        counter = frames[:, -1]
        wrong = ~((counter >= -ROUNDING) & (counter <= 1 + ROUNDING))
        if wrong.any():
            frame = int(np.argmax(wrong))
            raise UnusableError(
                f"the counter of frame {frame} is {counter[frame]:g}, not in 0 to 1; {LAYOUT}"
            )
    return frames[:, :VALUES]
