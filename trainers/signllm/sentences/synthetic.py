"""Built-in sentences in three languages, to train on with no download (no torch).

`python -m trainers.signllm.sentences.synthetic --out DIR` writes them as files.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import whole_folder
from trainers.signllm.sentences import grammar, signing
from trainers.signllm.sentences.corpus import Sentence
from trainers.signllm.sentences.folders import IMPORT, POSE, write_words
from trainers.signllm.sentences.part import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPLITS = tuple(grammar.SENTENCES)
LANGUAGES = tuple(grammar.WORDS)
FPS = 25.0
TEMPO = 0.03  # deviation of a sentence's tempo


@cache
def signs_of(language: str) -> dict[tuple[str, int], signing.Sign]:
    """Return a language's signs by concept; each language has its own."""
    words = grammar.WORDS[language]
    sizes = {
        "t": len(words.times),
        "p": len(words.persons),
        "v": len(words.verbs),
        "o": len(words.objects),
        "q": len(words.qualities),
    }
    known = [(role, number) for role, size in sizes.items() for number in range(size)]
    signs = signing.make_signs(len(known), (grammar.SEED, LANGUAGES.index(language)))
    return dict(zip(known, signs, strict=True))


def open_part(split: str, language: str, fps: float = FPS) -> Part:
    """Open a split in one language: always the same sentences; poses are made when read.

    Raises:
        TrainerError: if there is no such split.
    """
    if split not in SPLITS:
        raise TrainerError(f"the synthetic data has no split {split}; it has: {', '.join(SPLITS)}")
    signs, sentences, signed = signs_of(language), [], []
    seed = grammar.numbers(language, split)
    tempo = np.random.default_rng(seed)
    for number, content in enumerate(grammar.contents(language, split)):
        concepts = grammar.concepts(language, content)
        sequence = [signs[concept] for concept in concepts]
        speed = float(np.exp(tempo.normal(0, TEMPO)))
        frames = max(2, round(signing.seconds(sequence) / speed * fps))
        signed.append((sequence, speed))
        sentences.append(
            Sentence(
                name=f"{number:04d}",
                language=language,
                text=grammar.text(language, content),
                gloss=tuple(grammar.gloss(language, *concept) for concept in concepts),
                frames=frames,
            )
        )

    def read(row: int) -> NDArray[np.float64]:
        sequence, speed = signed[row]
        times = np.arange(sentences[row].frames) / fps * speed
        rng = np.random.default_rng((*seed, row))
        return signing.perform(sequence, times, rng)

    places = [f"synthetic/{language}/{split}/{one.name}" for one in sentences]
    return Part(split=split, language=language, sentences=sentences, places=places, read=read)


def write_sentences(out: Path, fps: float = FPS) -> dict[str, int]:
    """Write all languages and splits as folders, all or nothing; return sentences by split.

    Raises:
        TrainerError: if ``out`` holds something or cannot be written.
    """
    if not fps > 0:
        raise TrainerError(f"--fps {fps:g} must be above 0")
    counts = dict.fromkeys(SPLITS, 0)
    with whole_folder(out) as building:
        for language in LANGUAGES:
            for split in SPLITS:
                part = open_part(split, language, fps)
                for row, sentence in enumerate(part.sentences):
                    folder = building / language / split / sentence.name
                    folder.mkdir(parents=True)
                    write_words(folder, sentence.text, sentence.gloss)
                    np.save(folder / POSE, part.read(row).astype(np.float32))
                counts[split] += len(part.sentences)
        about = {"source": "synthetic", "trainer": "signllm", "fps": fps}
        (building / IMPORT).write_text(json.dumps(about) + "\n")
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prog = "python -m trainers.signllm.sentences.synthetic"
    parser = argparse.ArgumentParser(prog=prog, description="Write the built-in sentences.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second")
    given = parser.parse_args(argv)
    counts = write_sentences(given.out, given.fps)
    written = ", ".join(f"{count} sentences in {split}/" for split, count in counts.items())
    sys.stdout.write(f"{given.out}: {written} of {', '.join(LANGUAGES)}\n")
    return 0


if __name__ == "__main__":
    run_main(main)
