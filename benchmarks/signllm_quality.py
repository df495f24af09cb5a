"""What signllm learns: spelled words, sentences through gloss, real sentences; each beside a peer.

    python benchmarks/signllm_quality.py --letters LETTERS --skels SKELS --work FOLDER
        [--rows NAME ...] [--seeds 3] [--json]

- words: words of 2 to 8 letters that real signers spelled (see signllm_words.py), in four
  languages, held out; for each seed of the data and of the training.
- peer: the same words by an autoregressive nn.TransformerDecoder, teacher forced, of the same size
  and for as many steps; `peer-noise` with noise on its inputs.
- gloss: the built-in sentences through gloss (prompt2langgloss).
- phoenix: the five training sentences of the PHOENIX sample, remembered.

Each row is a training and `evaluate`, with all that it judges by; rows are stored in FOLDER as they
finish, and a training that was stopped goes on. LETTERS holds poses.npz and index.json, SKELS
train.skels and its text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from quality_rows import row
from signllm_words import write_words

WORDS = """
    --preset demo --width 128 --batch-size 8 --lr 2e-3 --warmup-iter 100 --total-iter 2000
    --eval-iter 1000 --save-iter 250 --print-iter 100 --timing-slack 8
"""
PEER = f"{WORDS} --decoding autoregressive --max-frames 320 --eval-iter 2000"
GLOSS = """
    --preset demo --mode prompt2langgloss --gloss-layers 2 --gloss-slots 12 --batch-size 16
    --lr 3e-3 --warmup-iter 100 --total-iter 2000 --eval-iter 1000 --save-iter 250 --print-iter 100
"""
PHOENIX = """
    --preset demo --train-split train --val-split train --language DGS --epochs none --batch-size 5
    --lr 1.5e-3 --total-iter 1500 --eval-iter 500 --save-iter 250 --print-iter 100
"""
FIGURES = ("dtw", "dtw_per_value", "motion", "length_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--letters", type=Path, required=True)
    parser.add_argument("--skels", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these rows alone")
    parser.add_argument("--seeds", type=int, default=3, help="of the words")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (data, flags) in rows(given).items():
        if given.rows is None or name in given.rows:
            found[name] = row("signllm", name, data, flags, given.work)
            if not given.json:
                show(name, found[name])
    if given.json:
        print(json.dumps(found, indent=2))


def rows(given: argparse.Namespace) -> dict[str, tuple[Path | None, str]]:
    """Data and flags of each row by name."""
    found: dict[str, tuple[Path | None, str]] = {}
    for seed in range(given.seeds):
        words = given.work / f"words-{seed}"
        write_words(given.letters, words, words=800, held_out=40, seed=seed)
        found[f"words seed {seed}"] = (words, f"{WORDS} --seed {seed}")
    words = given.work / "words-0"
    found["peer"] = (words, f"{PEER} --input-noise 0 --input-drop 0")
    found["peer-noise"] = (words, PEER)
    found["gloss"] = (None, GLOSS)
    found["phoenix"] = (given.skels, PHOENIX)
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print a row, and what it is beside."""
    print(f"{name}: {found['step']} steps, {found['train_cpu_s']:.0f} s of CPU")
    columns = {"generated": found, **found["beside"]}
    readings = found.get("readings", {})
    for column, figures in columns.items():
        read = readings.get(column, {})
        values = {one: figures[one] for one in FIGURES} | read
        shown = (f"{k} {v:.3f}" for k, v in values.items() if isinstance(v, float))
        print(f"  {column:26}{' · '.join(shown)}")
    if found.get("glosses"):
        print(f"  glosses {found['glosses']}")


if __name__ == "__main__":
    main()
