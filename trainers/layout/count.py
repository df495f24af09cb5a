"""How many posters there are to train on: `python -m trainers.layout.count FLAGS` prints JSON.

The flags are those of a training. Images are not read, and torch is not loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine.config.config import resolve
from trainers.engine.errors import run_main
from trainers.engine.samples import VALIDATION_SPLITS
from trainers.layout.config import PRESETS, Config
from trainers.layout.guide_config import translate
from trainers.layout.layouts.reading import SYNTHETIC, open_part, split_folders, subfolders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.config import DatasetConfig

MOST_NAMES = 100_000  # that gpuops takes
ROLES = {"train": ("train",), "val": VALIDATION_SPLITS}


def count(config: DatasetConfig) -> dict[str, Any]:
    """Count the posters of training and validation data; docs/trainers.md describes the answer.

    Raises:
        TrainerError: there is no data set.
    """
    root = Path(config.data)
    built_in = config.data == SYNTHETIC
    there = [] if built_in or not root.is_dir() else split_folders(root)
    samples, places = dict.fromkeys(ROLES, 0), {}
    incomplete: list[str] = []
    unreadable: list[str] = []
    for role, names in ROLES.items():
        if there and not set(names) & set(there):
            continue
        part = open_part(config, role)
        samples[role] = len(part.posters)
        if part.split != role:
            places[role] = part.split
        incomplete += part.incomplete
        unreadable += [f"{place}: {why}" for place, why in part.unusable.items()]
    return {
        "samples": samples,
        "folders": [] if built_in else (there or subfolders(root))[:MOST_NAMES],
        "incomplete": sorted(incomplete)[:MOST_NAMES],
        "unreadable": sorted(unreadable)[:MOST_NAMES],
        "places": places,
    }


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    config = resolve(Config, argv, name="layout", presets=PRESETS, translate=translate)
    print(json.dumps(count(config.dataset)))


if __name__ == "__main__":
    run_main(main)
