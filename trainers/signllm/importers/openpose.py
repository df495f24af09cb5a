"""Import frames of OpenPose as JSON, a folder for each recording, with a text for each.

`python -m trainers.signllm.importers.openpose SRC --out OUT --language ASL` runs it alone.

SRC is How2Sign's, say: `.../dev/json/NAME/NAME_000000000000_keypoints.json`, with `dev.files` and
`dev.text` anywhere below; or --text names a table. The first eight points of the body and both
hands are taken, with depth 0; a point of confidence 0 was not seen. Poses are brought to the neck
at the origin and shoulders of width 1, unless --pixels.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import MALFORMED, TrainerError, run_main
from trainers.engine.files import load_json
from trainers.signllm.importers.recordings import add_recording_flags, import_recordings
from trainers.signllm.importers.writing import FPS, Summary, describe
from trainers.signllm.skeleton import COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

# Of a person: the points that are taken; and the first eight are the same of BODY_25 and COCO.
PARTS = {"pose_keypoints_2d": 8, "hand_left_keypoints_2d": 21, "hand_right_keypoints_2d": 21}
FRAME = re.compile(r"(\d{1,18})(?:_keypoints)?\.json$")


def find_recordings(source: Path) -> list[Path]:
    """List the folders that hold frames, sorted by path.

    Raises:
        TrainerError: there is none.
    """
    found = [
        Path(folder)
        for folder, _, files in os.walk(source)
        if any(FRAME.search(name) for name in files)
    ]
    if not found:
        raise TrainerError(
            f"{source} holds no frames of OpenPose: no NAME/NAME_000000000000_keypoints.json",
            "give the folder that holds a folder of frames for each recording",
        )
    return sorted(found)


def read_recording(folder: Path) -> NDArray[np.float64]:
    """Read the poses (T, 150) of a folder of frames, in pixels; NaN for what was not seen.

    Raises:
        UnusableError: a frame cannot be read; it is named.
    """
    names = {name: FRAME.search(name) for name in os.listdir(folder)}  # noqa: PTH208 - names
    frames = sorted((int(found[1]), name) for name, found in names.items() if found)
    return np.stack([_read_frame(folder / name) for _, name in frames])


def _read_frame(path: Path) -> NDArray[np.float64]:
    """(150,) of the person that is seen best; NaN if there is no person."""
    try:
        people = [_points(person) for person in load_json(path)["people"]]
    except TrainerError as error:
        raise UnusableError(error.message.removeprefix(f"{path.parent}/")) from None
    except MALFORMED as error:
        raise UnusableError(
            f"{path.name} is not a frame of OpenPose with {', '.join(PARTS)}: {error}"
        ) from None
    best = max(people, key=lambda points: points[:, 2].sum(), default=np.zeros((COUNT, 3)))
    seen = (best[:, 2] > 0) & np.isfinite(best).all(axis=1)
    flat = np.where(seen[:, None], best * (1, 1, 0), np.nan)
    return flat.reshape(-1)


def _points(person: Mapping[str, Any]) -> NDArray[np.float64]:
    """(50, 3): x, y and confidence."""
    return np.concatenate(list(_parts(person)))


def _parts(person: Mapping[str, Any]) -> Iterator[NDArray[np.float64]]:
    for part, count in PARTS.items():
        values = np.asarray(person[part], dtype=np.float64)
        if not values.size:  # OpenPose without hands
            yield np.zeros((count, 3))
            continue
        if values.ndim != 1 or values.size % 3 or values.size < 3 * count:
            raise ValueError(f"{part} has {values.size} values, at least {3 * count} are wanted")
        yield values.reshape(-1, 3)[:count]


def import_openpose(source: Path, out: Path, *, fps: float = FPS, **how: Any) -> Summary:
    """Import recordings; see ``import_recordings``. ``fps`` is recorded, frames stay as they are.

    Raises:
        TrainerError: nothing to import, or what ``import_recordings`` refuses.
    """
    return import_recordings(source, out, find_recordings(source), read_recording, fps=fps, **how)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.signllm.importers.openpose", "Import keypoints of OpenPose as sentences."
    )
    add_recording_flags(parser)
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second of the recordings")
    return importing.run(parser, argv, import_openpose, lambda summary: summary.fps, describe)


if __name__ == "__main__":
    run_main(main)
