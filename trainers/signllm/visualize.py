"""Draw sentences: `python -m trainers.signllm.visualize --data DATA --out F`, or --checkpoint RUN.

Of a data set the real poses, of a run the generated ones beside the real ones. F is a .gif, an
.mp4 or a .png.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.files import whole_file
from trainers.engine.verbs import add_checkpoint_flag, add_data_flags
from trainers.signllm.config import DatasetConfig
from trainers.signllm.sentences.reading import open_corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.signllm.drawing import Scene
    from trainers.signllm.sentences.corpus import Corpus

DRAWN = (".gif", ".mp4", ".png")


def real_scenes(corpus: Corpus, rows: Sequence[int]) -> list[Scene]:
    """Return sentences of a corpus by number.

    Raises:
        TrainerError: one cannot be read.
    """
    from trainers.signllm.drawing import Panel, Scene  # noqa: PLC0415 - matplotlib is slow to load

    found = []
    for row in rows:
        one, poses = corpus.sentences[row], corpus.poses(row)
        about = [one.language, " ".join(one.gloss or ()), one.name]
        panel = Panel(title=f"{len(poses)} frames", poses=poses)
        found.append(
            Scene(
                title=one.text,
                subtitle=" · ".join(filter(None, about)),
                fps=corpus.fps,
                panels=(panel,),
            )
        )
    return found


def rows_of(corpus: Corpus, wanted: Sequence[str], count: int) -> list[int]:
    """Return the sentences that are wanted; without any, the first ones.

    By NAME, by LANGUAGE/NAME, or by number from 1.

    Raises:
        TrainerError: there is no such sentence.
    """
    names = [one.name for one in corpus.sentences]
    in_full = [f"{one.language}/{one.name}" for one in corpus.sentences]
    found = []
    for word in wanted:
        if word in in_full:
            found.append(in_full.index(word))
        elif word in names:
            found.append(names.index(word))
        elif word.isdecimal() and 1 <= int(word) <= len(names):
            found.append(int(word) - 1)
        else:
            near = difflib.get_close_matches(word, in_full, n=1, cutoff=0)[0]
            raise TrainerError(
                f"{corpus.source}, split {corpus.split}, has no sentence {word}; "
                f"the nearest is {near}",
                f"it has {len(names):,}: --sentence takes a name, perhaps with its language, "
                "or a number from 1",
            )
    return found or list(range(min(count, len(names))))


def draw(scenes: Sequence[Scene], path: Path) -> None:
    """Write the film or the picture, whole or not at all."""
    from trainers.signllm import drawing  # noqa: PLC0415 - matplotlib is slow to load

    with whole_file(path) as unfinished:
        (drawing.picture if path.suffix == ".png" else drawing.film)(scenes, unfinished)


def _scenes(given: argparse.Namespace) -> list[Scene]:
    if given.checkpoint is None:
        dataset = DatasetConfig(data=given.data, val_split=given.split or "auto")
        corpus = open_corpus(dataset, "val")
        return real_scenes(corpus, rows_of(corpus, given.sentence, given.count))
    # Torch only here: the poses of a data set are drawn without it.
    from trainers.engine import distributed  # noqa: PLC0415
    from trainers.signllm.samples import scenes_beside  # noqa: PLC0415
    from trainers.signllm.trained import load, open_for  # noqa: PLC0415

    trained = load(given.checkpoint)
    data = open_for(trained, given.data, given.split)
    rows = rows_of(data.corpus, given.sentence, given.count)
    with distributed.world() as world:
        return scenes_beside(trained.model.to(world.device), data, rows)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainers.signllm.visualize", description="Draw the poses of sentences."
    )
    add_checkpoint_flag(parser, required=False)
    add_data_flags(parser)
    parser.add_argument(
        "--sentence",
        action="append",
        default=[],
        help="NAME, LANGUAGE/NAME or a number from 1; repeatable",
    )
    parser.add_argument("--count", type=int, default=1, help="sentences, if none is named")
    parser.add_argument("--out", type=Path, required=True, help="a .gif, .mp4 or .png to write")
    parser.add_argument(
        "--mode", choices=["animation"], default="animation", help="taken, as the guide types it"
    )
    given = parser.parse_args(argv)
    if given.out.suffix not in DRAWN:
        raise ConfigError(f"{given.out} is not a .gif, .mp4 or .png", "end the name in one of them")
    if given.checkpoint is None and given.data is None:
        raise ConfigError("there is nothing to draw", "give --data a data set, or a run")
    if given.count < 1:
        raise ConfigError(f"--count cannot be {given.count}", "give a number from 1")
    scenes = _scenes(given)
    draw(scenes, given.out)
    for scene in scenes:
        sys.stdout.write(f"{given.out}: {scene.title}\n")
    return 0


if __name__ == "__main__":
    run_main(main)
