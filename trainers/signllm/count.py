"""How many sentences there are to train on: `python -m trainers.signllm.count FLAGS` prints JSON.

The flags are those of a training. Poses are not read, and torch is not loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainers.engine.config.config import resolve
from trainers.engine.errors import run_main
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.guide_config import translate
from trainers.signllm.sentences.reading import SYNTHETIC, find_places, open_parts, split_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.signllm.config import DatasetConfig

MOST_NAMES = 100_000  # that gpuops takes
ROLES: tuple[Literal["train", "val"], ...] = ("train", "val")


def count(config: DatasetConfig) -> dict[str, Any]:
    """Count the sentences of training and validation data; docs/trainers.md describes the answer.

    Raises:
        TrainerError: there is no data set, or its files are not what they must be.
    """
    places = find_places(config)
    samples, folders = dict.fromkeys(ROLES, 0), {}
    incomplete, unreadable = [], []
    for role in ROLES:
        wanted = config.train_split if role == "train" else config.val_split
        if not any(split_of(place, wanted) for place in places):
            continue
        parts = open_parts(config, role)
        samples[role] = sum(len(part.sentences) for part in parts)
        if parts[0].split != role:
            folders[role] = parts[0].split
        incomplete += [path for part in parts for path in part.incomplete]
        unreadable += [f"{path}: {why}" for part in parts for path, why in part.unusable.items()]
    root = Path(config.data)
    inside = [] if config.data == SYNTHETIC else sorted(path.name for path in root.iterdir())
    return {
        "samples": samples,
        "folders": inside,
        "incomplete": sorted(set(incomplete))[:MOST_NAMES],
        "unreadable": sorted(set(unreadable))[:MOST_NAMES],
        "places": folders,
    }


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    config = resolve(Config, argv, name="signllm", presets=PRESETS, translate=translate)
    print(json.dumps(count(config.dataset)))


if __name__ == "__main__":
    run_main(main)
