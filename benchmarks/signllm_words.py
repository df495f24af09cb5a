"""Words spelled from letters that real signers signed, as a data set of signllm.

    python benchmarks/signllm_words.py LETTERS --out words [--words 800] [--held-out 40] [--seed 0]

LETTERS holds poses.npz (letter -> (T, 150)) and index.json (words, signed, frames). A word is the
clips of its letters one after the other, each at a tempo of its own (0.85 to 1.2), with two frames
of transition between them. Words are random: no model can know a held-out one by its spelling.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANGUAGES = ("ase", "gsg", "sgg", "svk")  # fsl has the very clips of ase
LETTERS = (2, 8)  # of a word
TEMPO = (0.85, 1.2)
TRANSITION = 2  # frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("letters", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", type=int, default=800, help="of all languages together")
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_words(given.letters, given.out, given.words, given.held_out, given.seed)


def write_words(letters: Path, out: Path, words: int, held_out: int, seed: int) -> None:
    """Write the splits train and val below ``out``, unless they are there."""
    if (out / "done").exists():
        return
    clips = read_letters(letters)
    rng = np.random.default_rng(seed)
    said: set[tuple[str, str]] = set()
    for split, count in (("val", held_out), ("train", words)):
        for number in range(count):
            language = LANGUAGES[number % len(LANGUAGES)]
            word = draw_word(rng, sorted(clips[language]), said, language)
            folder = out / language / split / f"{number:04d}-{word.lower()}"
            folder.mkdir(parents=True)
            np.save(folder / "pose.npy", spell(rng, [clips[language][one] for one in word]))
            (folder / "text.txt").write_text(word + "\n", encoding="utf-8")
            (folder / "gloss.txt").write_text(" ".join(word) + "\n", encoding="utf-8")
    (out / "done").touch()


def read_letters(folder: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The clips (T, 150) of single letters by language; NaN where a joint was not seen."""
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    with np.load(folder / "poses.npz", allow_pickle=False) as poses:
        for one in json.loads((folder / "index.json").read_text(encoding="utf-8")):
            if one["signed"] not in LANGUAGES or len(one["words"]) != 1:
                continue
            joints = poses[one["key"]].astype(np.float32).reshape(-1, 50, 3)
            joints[(joints == 0).all(-1)] = np.nan
            found.setdefault(one["signed"], {})[one["words"]] = joints.reshape(-1, 150)
    return found


def draw_word(
    rng: np.random.Generator, letters: list[str], said: set[tuple[str, str]], language: str
) -> str:
    """A word that was not drawn before."""
    while True:
        size = rng.integers(LETTERS[0], LETTERS[1] + 1)
        word = "".join(rng.choice(letters, size))
        if (language, word) not in said:
            said.add((language, word))
            return word


def spell(rng: np.random.Generator, clips: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(T, 150) of clips in sequence."""
    parts: list[NDArray[Any]] = []
    for clip in clips:
        tempo = rng.uniform(*TEMPO)
        count = max(2, round(len(clip) / tempo))
        places = np.linspace(0, len(clip) - 1, count)
        now = between(clip, places)
        if parts:
            ends = np.stack([parts[-1][-1], now[0]])
            parts.append(between(ends, np.arange(1, TRANSITION + 1) / (TRANSITION + 1)))
        parts.append(now)
    return np.concatenate(parts).astype(np.float32)


def between(clip: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames of a clip at places between its own; a joint missing in one of the two is missing."""
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(clip) - 1)
    share = (places - low)[:, None].astype(np.float32)
    mixed: NDArray[np.float32] = np.where(
        share == 0, clip[low], (1 - share) * clip[low] + share * clip[high]
    )
    return mixed


if __name__ == "__main__":
    main()
