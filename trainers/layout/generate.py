"""Place the elements of posters: `python -m trainers.layout.generate --checkpoint RUN --out F`.

F is a .json file: a list with an object for each poster. Pictures lie in a folder beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from trainers.engine import distributed
from trainers.engine.bars import tracked
from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.files import whole_file, whole_folder
from trainers.engine.verbs import add_data_flags, checkpoint_parser
from trainers.layout.config import Task
from trainers.layout.diffusion import Diffusion
from trainers.layout.drawing import Scene, compose, sheet
from trainers.layout.layouts.layout import Placed, from_state
from trainers.layout.layouts.reading import SYNTHETIC
from trainers.layout.layouts.snap import snap
from trainers.layout.samples import scene
from trainers.layout.score import draw
from trainers.layout.trained import corpus_of, data_for, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.data import LayoutData
    from trainers.layout.trained import Trained

BATCH = 32
SHEET = "sheet.png"
ON_SHEET = 12  # posters
ANOTHER = "give another --out"
PICTURE_HEIGHT = 1200  # pixels, or the canvas's if that is less


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How posters are laid out."""

    given: Task  # what is known beforehand
    count: int | None  # posters; None: all
    steps: int | None  # None: as the run's settings say
    seed: int
    strength: float | None  # of refining the layouts that are there; None: from noise alone
    snaps: bool


def place(found: Trained, data: LayoutData, options: Options) -> list[Placed]:
    """Return where the model puts the elements of the first posters of ``data``."""
    count = len(data.corpus)
    rows = np.arange(count if options.count is None else min(count, options.count))
    diffusion = Diffusion(found.config.diffusion)
    placed: list[Placed] = []
    with distributed.world() as world:
        model = found.model.to(world.device)
        for batch in tracked(np.array_split(rows, -(-len(rows) // BATCH)), "placing", quiet=2):
            states = draw(
                model,
                data,
                batch,
                options.given,
                diffusion,
                steps=options.steps,
                seed=options.seed,
                strength=options.strength,
            )
            placed += [
                from_state(state, data.corpus.layouts[int(row)].canvas)
                for row, state in zip(batch, states, strict=True)
            ]
    if options.snaps:
        canvases = [layout.canvas for layout in data.corpus.layouts]
        placed = [
            replace(one, boxes=snap(one.boxes, canvas))
            for one, canvas in zip(placed, canvases, strict=False)
        ]
    return placed


def describe(
    found: Trained, data: LayoutData, placed: Sequence[Placed], options: Options
) -> list[dict[str, Any]]:
    """Return a poster each in the schema of the public LayoutMaster: see trainers/layout/README."""
    return [
        {
            "elements": [
                {
                    "id": layout.ids[number],
                    "bounding_box": dict(
                        zip(("x", "y", "width", "height"), one.boxes[number].tolist(), strict=True)
                    ),
                    "layer_order": int(one.order[number]),
                    "confidence": round(float(one.confidence[number]), 4),
                }
                for number in range(len(layout))
            ],
            "canvas_size": {"width": layout.canvas[0], "height": layout.canvas[1]},
            "total_elements": len(layout),
            "prediction_info": {
                "model": "layout",
                "poster_name": layout.name,
                "checkpoint": str(found.path),
                "step": found.step,
                "given": options.given,
                "sampler": found.config.diffusion.sampler,
                "steps": options.steps or found.config.diffusion.num_inference_steps,
                "seed": options.seed,
                "refined_by": options.strength,
                "snapped": options.snaps,
                "total_elements": len(layout),
            },
        }
        for layout, one in zip(data.corpus.layouts, placed, strict=False)
    ]


def write(
    posters: Sequence[dict[str, Any]], data: LayoutData, placed: Sequence[Placed], out: Path
) -> Path:
    """Write the file and the folder of pictures beside it, each whole or not at all.

    Raises:
        TrainerError: they cannot be written, or the folder holds something else.
    """
    folder = out.with_suffix("")
    if folder.is_dir() and not all(path.suffix == ".png" for path in folder.iterdir()):
        raise TrainerError(f"{folder} holds more than pictures, and is not replaced", ANOTHER)
    with whole_folder(folder, replaces=SHEET, hint=ANOTHER) as building:
        rows: list[list[Scene]] = []
        for row, one in enumerate(tracked(placed, "drawing", quiet=2)):
            layout = data.corpus.layouts[row]
            after = scene(f"{layout.name}: placed", data, row, one)
            picture = compose(after, min(PICTURE_HEIGHT, layout.canvas[1]))
            picture.save(building / f"{layout.name}.png")
            if row < ON_SHEET:
                rows.append([after, scene("as it was", data, row, layout)])
        sheet(rows).save(building / SHEET)
    with whole_file(out) as unfinished:
        unfinished.write_text(json.dumps(posters, indent=1) + "\n", encoding="utf-8")
    return folder


def generate(
    checkpoint: Path, data: str | None, split: str | None, options: Options, out: Path
) -> str:
    """Place the elements of posters, write file and pictures, and return a sentence on them.

    Raises:
        TrainerError: the checkpoint or the data cannot be used, or the files cannot be written.
        ConfigError: the name of the file does not say that it is JSON, or there are too many steps.
    """
    if out.suffix != ".json":
        raise ConfigError(f"{out} is not a .json file", "as in --out prediction.json")
    found = load(checkpoint)
    found.config.diffusion.check_steps(options.steps or 1, "--steps")
    if data is not None and split is None and data != SYNTHETIC:
        # All posters of a folder that has no splits.
        dataset = replace(found.config.dataset, val_share=1.0)
        found = replace(found, config=replace(found.config, dataset=dataset))
    made = data_for(found, corpus_of(found, data, split))
    placed = place(found, made, options)
    posters = describe(found, made, placed, options)
    folder = write(posters, made, placed, out)
    elements = sum(one["total_elements"] for one in posters)
    return f"{out}: {len(posters):,} posters, {elements:,} elements; pictures: {folder}/{SHEET}"


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = checkpoint_parser("layout", "generate", "Place the elements of posters.")
    add_data_flags(parser)
    parser.add_argument("--out", type=Path, required=True, help="a .json file to write")
    add_options(parser)
    given = parser.parse_args(argv)
    print(generate(given.checkpoint, given.data, given.split, options_of(given), given.out))
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how posters are laid out."""
    parser.add_argument(
        "--num-samples", "--num_samples", type=int, help="posters; default: all of them"
    )
    parser.add_argument(
        "--given", choices=get_args(Task), default="nothing", help="what is known beforehand"
    )
    parser.add_argument("--steps", type=int, help="steps to draw in; default: the run's setting")
    parser.add_argument("--seed", type=int, default=0, help="one seed gives one layout")
    parser.add_argument(
        "--refine", type=float, metavar="0..1", help="from the layout that is there, so much noisy"
    )
    parser.add_argument("--snap", action="store_true", help="align what nearly aligns")


def options_of(given: argparse.Namespace) -> Options:
    """Return the flags' values.

    Raises:
        ConfigError: one is out of range.
    """
    for flag, value, low, high in (
        ("--num-samples", given.num_samples, 1, 10**9),
        ("--steps", given.steps, 1, 1000),
        ("--seed", given.seed, 0, 2**63),
        ("--refine", given.refine, 0, 1),
    ):
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{flag} cannot be {value}", f"give a number from {low} to {high}")
    return Options(
        given=given.given,
        count=given.num_samples,
        steps=given.steps,
        seed=given.seed,
        strength=given.refine,
        snaps=given.snap,
    )


def predict(argv: Sequence[str]) -> int:
    """Run the guide's `--mode predict`: its flags, of which the settings of a training are none.

    Raises:
        ConfigError: no checkpoint is given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trainers.layout.train --mode predict", allow_abbrev=False
    )
    parser.add_argument("--checkpoint", "--model_path", type=Path)
    parser.add_argument("--poster_dir", "--poster-dir", "--data", dest="data")
    parser.add_argument("--split")
    parser.add_argument("--output_dir", "--output-dir", "--out-dir", "--out_dir", type=Path)
    parser.add_argument("--config", action="append")
    parser.add_argument("--mode")
    add_options(parser)
    given = parser.parse_args(argv)
    if given.checkpoint is None:
        raise ConfigError(
            "--mode predict needs a checkpoint", "as in --checkpoint checkpoints/best_model.pth"
        )
    out = (given.output_dir or Path()) / "prediction.json"
    print(generate(given.checkpoint, given.data, given.split, options_of(given), out))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
