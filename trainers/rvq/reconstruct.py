"""Draw clips beside what came back: `python -m trainers.rvq.reconstruct --checkpoint RUN --out F`.

F is a .png (a row of poses), a .gif or an .mp4. Joints stand where forward kinematics puts them,
the translation joint at the origin, as MPJPE has it.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainers.engine import distributed
from trainers.engine.batches import to_device
from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.files import whole_file
from trainers.engine.verbs import add_data_flags, checkpoint_parser
from trainers.rvq.losses import JointPlaces
from trainers.rvq.trained import Trained, load, open_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.motion.drawing import Pair
    from trainers.rvq.data import MotionData

SECONDS = 10.0


@torch.no_grad()
def reconstruct(
    trained: Trained, clips: MotionData, names: Sequence[str], device: torch.device
) -> list[Pair]:
    """Reconstruct clips by name; without names the first one.

    Raises:
        TrainerError: there is no such clip, or no skeleton to draw.
    """
    from trainers.motion.drawing import Pair  # noqa: PLC0415 - a wrong flag need not wait for it

    if clips.skeleton is None:
        raise TrainerError(
            f"{clips.source.source} has no skeleton to draw", "a data set has it in skeleton.json"
        )
    model = trained.model.to(device)
    places = JointPlaces(clips.skeleton, model.mean, model.std).to(device)
    pairs = []
    for row in _rows(clips, names):
        batch = to_device(clips.clips(np.array([row])), device)
        found = model(batch.features)
        pairs.append(
            Pair(
                name=clips.source.names[row],
                original=places(found.target)[0].cpu().numpy(),
                reconstruction=places(found.output)[0].cpu().numpy(),
                skeleton=clips.skeleton,
            )
        )
    return pairs


def _rows(clips: MotionData, names: Sequence[str]) -> list[int]:
    there = clips.source.names
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1, cutoff=0)[0]
            raise TrainerError(f"{clips.source.source} has no clip {name}; the nearest is {near}")
    return [there.index(name) for name in names] or [0]


def draw(pairs: Sequence[Pair], path: Path, seconds: float) -> None:
    """Write the picture or the film, whole or not at all."""
    from trainers.engine.film import FILMS  # noqa: PLC0415 - matplotlib is slow to load
    from trainers.motion import drawing  # noqa: PLC0415 - matplotlib is slow to load

    with whole_file(path) as unfinished:
        if path.suffix in FILMS:
            drawing.film(pairs, unfinished, seconds)
        else:
            drawing.picture(pairs, unfinished)


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = checkpoint_parser("rvq", "reconstruct", "Draw clips, and what came back of them.")
    add_data_flags(parser)
    parser.add_argument("--clip", action="append", default=[], help="a clip by name; repeatable")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each clip in a film")
    parser.add_argument("--out", type=Path, required=True, help="a .png, .gif or .mp4 to write")
    given = parser.parse_args(argv)
    if given.out.suffix not in (".png", ".gif", ".mp4"):
        raise ConfigError(f"{given.out} is not a .png, .gif or .mp4", "end the name in one of them")
    trained = load(given.checkpoint)
    clips = open_for(trained, given.data, given.split)
    with distributed.world() as world:
        pairs = reconstruct(trained, clips, given.clip, world.device)
    draw(pairs, given.out, given.seconds)
    for pair in pairs:
        sys.stdout.write(f"{given.out}: {pair.title}\n")
    return 0


if __name__ == "__main__":
    run_main(main)
