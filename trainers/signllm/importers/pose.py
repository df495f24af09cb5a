"""Import .pose files of the library pose-format, with a text for each.

`python -m trainers.signllm.importers.pose SRC --out OUT --language DGS --text index.csv` runs it.

The 50 joints are chosen by name among the points of MediaPipe Holistic or of OpenPose. Recordings
are brought to --fps frames a second, the neck at the origin and shoulders of width 1 (unless
--pixels). Texts come from a table, or from NAME.txt beside NAME.pose.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import reason
from trainers.signllm.importers.recordings import add_recording_flags, import_recordings
from trainers.signllm.importers.writing import FASTEST, FPS, SLOWEST, Summary, describe
from trainers.signllm.skeleton import HANDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FINGERS = ("THUMB", "INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
KNUCKLES = ("MCP", "PIP", "DIP", "TIP")
HOLISTIC_HAND = ("WRIST", *(
    f"{finger}_{knuckle}"
    for finger in FINGERS
    for knuckle in (("CMC", "MCP", "IP", "TIP") if finger == "THUMB" else KNUCKLES)
))  # fmt: skip
HOLISTIC_BODY = (
    *("NOSE", "", "RIGHT_SHOULDER", "RIGHT_ELBOW", "RIGHT_WRIST"),
    *("LEFT_SHOULDER", "LEFT_ELBOW", "LEFT_WRIST"),
)  # the neck is the middle of the shoulders
OPENPOSE_HAND = ("BASE", *(
    f"{finger}_{knuckle}"
    for finger in "TIMRP"
    for knuckle in (("STT", "BCMC", "MCP", "IP") if finger == "T" else ("CMC", "MCP", "PIP", "DIP"))
))  # fmt: skip
OPENPOSE_BODY = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist"),
    *("LShoulder", "LElbow", "LWrist"),
)
# Components of a file with the points that are taken, in the order of the 50 joints.
KINDS = {
    "holistic": {
        "POSE_LANDMARKS": HOLISTIC_BODY,
        "LEFT_HAND_LANDMARKS": HOLISTIC_HAND,
        "RIGHT_HAND_LANDMARKS": HOLISTIC_HAND,
    },
    "openpose": {
        "pose_keypoints_2d": OPENPOSE_BODY,
        "hand_left_keypoints_2d": OPENPOSE_HAND,
        "hand_right_keypoints_2d": OPENPOSE_HAND,
    },
}
NECK, SHOULDERS = 1, [2, 5]
NEEDED = [*SHOULDERS, *HANDS]  # of the 50; files may leave out others, which are unseen then


def read_recording(path: Path, fps: float) -> NDArray[np.floating[Any]]:
    """Read the poses (T, 150) of a .pose file at ``fps``; NaN for what was not seen.

    Raises:
        UnusableError: it cannot be read, or lacks the points.
        TrainerError: pose-format is not installed.
    """
    pose = _read(path)
    columns = _columns({part.name: part.points for part in pose.header.components})
    body = pose.body
    if not len(body.data) or not body.data.shape[1]:
        raise UnusableError("it has 0 frames")
    person = int(np.argmax(body.confidence.sum(axis=(0, 2))))  # the one that is seen best
    points = np.full((len(body.data), 1 + body.data.shape[2], 3), np.nan)
    places = np.ma.getdata(body.data)[:, person, :, :3]
    seen = (body.confidence[:, person] > 0) & np.isfinite(places).all(axis=2)
    points[:, :-1] = 0.0  # the depth of files that have none
    points[:, :-1, : places.shape[2]] = places
    points[:, :-1][~seen] = np.nan
    joints = points[:, columns]  # column -1 is of no point: NaN
    unseen = ~np.isfinite(joints[:, NECK, 0])
    joints[unseen, NECK] = joints[unseen][:, SHOULDERS].mean(axis=1)
    return resample(joints.reshape(len(joints), -1), float(body.fps), fps)


def resample(poses: NDArray[np.floating[Any]], given: float, wanted: float) -> NDArray[Any]:
    """Bring poses (T, V) to another number of frames a second, on the line between two frames.

    A joint that is unseen in either of them is unseen.

    Raises:
        UnusableError: the given rate cannot be that of a recording.
    """
    if not SLOWEST <= given <= FASTEST:
        raise UnusableError(f"it has {given:g} frames a second")
    if given == wanted:
        return poses
    times = np.arange(max(1, round(len(poses) * wanted / given))) * (given / wanted)
    before = np.minimum(times.astype(int), len(poses) - 1)
    after = np.minimum(before + 1, len(poses) - 1)
    share = (times - before)[:, None].clip(0, 1)
    between = poses[before] * (1 - share) + poses[after] * share
    found: NDArray[Any] = np.where(share == 0, poses[before], between)
    return found


def _read(path: Path) -> Any:
    try:
        from pose_format import Pose  # noqa: PLC0415 - only this import needs it
    except ImportError:
        raise TrainerError(
            "reading .pose files needs the package pose-format", "pip install 'gpuops[text]'"
        ) from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableError(f"it cannot be read: {reason(error)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Pose.read(content)
    except Exception as error:  # noqa: BLE001 - of a broken header anything may be thrown
        kind = type(error).__name__
        raise UnusableError(f"it is not a .pose file, or its header is broken ({kind})") from None


def _columns(points: dict[str, list[str]]) -> list[int]:
    """Find the 50 joints among a file's points, by component and name; -1 for one that is absent.

    Raises:
        UnusableError: the file is of another kind.
    """
    kind = next((kind for kind in KINDS.values() if next(iter(kind)) in points), None)
    if kind is None:
        raise UnusableError(
            f"its points are neither of {' nor of '.join(KINDS)}: it has "
            f"{', '.join(points) or 'none'}"
        )
    every = [(component, name) for component, names in points.items() for name in names]
    number = {point: column for column, point in enumerate(every)}
    wanted = [(part, name) for part, names in kind.items() for name in names]
    absent = [wanted[joint] for joint in NEEDED if wanted[joint] not in number]
    if absent:
        first = " ".join(absent[0])
        raise UnusableError(f"it lacks {len(absent)} of the points, the first is {first}")
    return [number.get(point, -1) for point in wanted]


def import_pose(source: Path, out: Path, *, fps: float = FPS, **how: Any) -> Summary:
    """Import recordings; see ``import_recordings``.

    Raises:
        TrainerError: nothing to import, or what ``import_recordings`` refuses.
    """
    recordings = sorted(path for path in source.rglob("*.pose") if path.is_file())
    if not recordings:
        raise TrainerError(f"{source} holds no .pose file", "give the folder that holds them")
    read = partial(read_recording, fps=fps)
    return import_recordings(source, out, recordings, read, fps=fps, **how)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.signllm.importers.pose", "Import .pose files as sentences."
    )
    add_recording_flags(parser)
    parser.add_argument("--fps", type=float, default=FPS, help="frames a second to bring them to")
    return importing.run(parser, argv, import_pose, lambda summary: summary.fps, describe)


if __name__ == "__main__":
    run_main(main)
