"""Draw posters: `python -m trainers.layout.visualize --data D --out F.png`, or of a run.

Of a data set as they are; of a run, as its model places them, beside.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.files import whole_file
from trainers.engine.verbs import add_checkpoint_flag, add_data_flags
from trainers.layout.config import DatasetConfig
from trainers.layout.drawing import Scene, sheet
from trainers.layout.layouts.reading import open_corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.layouts.corpus import Corpus

COLUMNS = 4


def real_scenes(corpus: Corpus, rows: Sequence[int]) -> list[list[Scene]]:
    """Return posters by number as they are, a few beside one another."""
    found = [
        Scene(
            title=layout.name,
            canvas=layout.canvas,
            boxes=np.rint(layout.boxes).astype(np.int64),
            order=layout.order,
            categories=layout.categories,
            read_images=partial(corpus.images, row) if corpus.pictured else None,
        )
        for row in rows
        for layout in [corpus.layouts[row]]
    ]
    return [found[i : i + COLUMNS] for i in range(0, len(found), COLUMNS)]


def rows_of(corpus: Corpus, wanted: Sequence[str], count: int) -> list[int]:
    """Return the posters that are named; without any, the first ones.

    Raises:
        TrainerError: there is no such poster.
    """
    names = [layout.name for layout in corpus.layouts]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise TrainerError(
            f"{corpus.source}, split {corpus.split}, has no poster {unknown[0]}",
            f"it has {len(names):,}, such as {names[0]}; --split takes another split",
        )
    return [names.index(name) for name in wanted] or list(range(min(count, len(names))))


def _scenes(given: argparse.Namespace) -> list[list[Scene]]:
    if given.checkpoint is None:
        corpus = open_corpus(DatasetConfig(data=given.data), given.split or "val")
        return real_scenes(corpus, rows_of(corpus, given.poster, given.count))
    # Torch only here: the posters of a data set are drawn without it.
    from trainers.layout.diffusion import Diffusion  # noqa: PLC0415
    from trainers.layout.samples import scenes_beside  # noqa: PLC0415
    from trainers.layout.trained import corpus_of, data_for, load  # noqa: PLC0415

    trained = load(given.checkpoint)
    data = data_for(trained, corpus_of(trained, given.data, given.split))
    rows = rows_of(data.corpus, given.poster, given.count)
    return scenes_beside(trained.model, data, Diffusion(trained.config.diffusion), rows)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.layout.visualize", description="Draw posters."
    )
    add_checkpoint_flag(parser, required=False)
    add_data_flags(parser)
    parser.add_argument("--poster", action="append", default=[], help="its name; repeatable")
    parser.add_argument("--count", type=int, default=4, help="posters, if none is named")
    parser.add_argument("--out", type=Path, required=True, help="a .png to write")
    given = parser.parse_args(argv)
    if given.out.suffix != ".png":
        raise ConfigError(f"{given.out} is not a .png", "end the name in it")
    if given.checkpoint is None and given.data is None:
        raise ConfigError("there is nothing to draw", "give --data a data set, or a run")
    if given.count < 1:
        raise ConfigError(f"--count cannot be {given.count}", "give a number from 1")
    scenes = _scenes(given)
    with whole_file(given.out) as unfinished:
        sheet(scenes).save(unfinished, format="PNG")
    print(f"{given.out}: {sum(map(len, scenes))} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
