"""Import the .npz files of Seamless Interaction.

`python -m trainers.motion.importers.seamless SRC --out OUT` runs it alone.

SRC holds `{improvised,naturalistic}/{train,dev,test}/**/V00_S0809_I00000582_P0947.npz`, or a part
of that. OUT gets `<split>/<clip>/{pose,translation}.npy` and `clip.json`: pose (T, 156) axis-angle
of SMPL-H, translation (T, 3) in centimetres, both as they are. Clips are cut at frames whose
`is_valid` is not set. A window is then a slice of a mapped array, not a whole file to unpack.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine import importing
from trainers.engine.arrays import npz
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, run_main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPLITS = ("train", "val", "dev", "test")
BODY = "smplh"
# The order of the model's joints, and the values of a frame.
PARTS = {"global_orient": 3, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45}
FPS = 30.0
MIN_FRAMES = 16
WHICH = "give the folder that holds the data set"
MOST = 256 << 20  # bytes of an array: more than an hour of keypoints


@dataclass(slots=True, kw_only=True)
class Summary(importing.Summary):
    """What an import did."""

    files: int
    left_out: dict[str, int] = field(default_factory=dict)  # frames, by the reason


def find_files(source: Path) -> dict[str, list[Path]]:
    """List the files of each split, sorted by path; `source` itself may be a split's folder.

    Raises:
        TrainerError: if there is none, or if a file belongs to no split.
    """
    if not source.is_dir():
        raise TrainerError(f"{source} is not a folder", WHICH)
    found: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*.npz")):
        folders = (*path.relative_to(source).parts[:-1], source.resolve().name)
        split = next((part for part in folders if part in SPLITS), "")
        found.setdefault(split, []).append(path)
    if not found:
        raise TrainerError(f"{source} holds no .npz file", WHICH)
    if "" in found:
        raise TrainerError(
            f"{found[''][0]} lies in no split", f"a folder above it is one of: {', '.join(SPLITS)}"
        )
    return found


def read(
    path: Path, *, keypoints: bool = False
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Read arrays of T frames by name, `pose` (T, 156) first, and whether the body was found (T,).

    Nothing is unpickled, sizes are checked first.

    Raises:
        ArrayError: if it has none, or one that cannot be.
    """
    with npz.opened(path) as archive:
        body = {part: _frames(archive, BODY, part, width) for part, width in PARTS.items()}
        wanted = [(BODY, "translation", 3), (BODY, "is_valid", 1)]
        wanted += [("boxes_and_keypoints", "keypoints", 3 * 133)] if keypoints else []
        beside = {one[1]: _frames(archive, *one) for one in wanted if _member(archive, *one[:2])}
    frames = {name: len(array) for name, array in {**body, **beside}.items()}
    if len(set(frames.values())) > 1:
        each = ", ".join(f"{count} of {name}" for name, count in frames.items())
        raise ArrayError(f"its arrays differ in frames: {each}")
    pose = np.concatenate(list(body.values()), axis=1)
    valid = beside.pop("is_valid", np.ones((len(pose), 1)))[:, 0] != 0
    return {"pose": pose, **beside}, valid


def import_seamless(
    source: Path,
    out: Path,
    *,
    min_frames: int = MIN_FRAMES,
    keypoints: bool = False,
    skip_bad: bool = False,
    force: bool = False,
) -> Summary:
    """Import every file of `source` into a new folder `out`, all or nothing.

    Raises:
        TrainerError: nothing to import, files that cannot be used (unless `skip_bad`), or an `out`
            that holds something.
    """
    splits = find_files(source)
    summary = Summary(out=str(out), files=sum(map(len, splits.values())))
    left_out: Counter[str] = Counter()

    def add(folder: Path, split: str, path: Path) -> None:
        """Write a clip for each span of frames that can be used."""
        try:
            arrays, valid = read(path, keypoints=keypoints)
        except ArrayError as error:
            raise UnusableError(str(error)) from None
        finite = np.isfinite(arrays["pose"]).all(axis=1)
        left_out["not valid"] += int((~valid).sum())
        left_out["not finite"] += int((valid & ~finite).sum())
        for begin, end in spans(valid & finite):
            if end - begin < min_frames:
                left_out[f"in spans of less than {min_frames}"] += end - begin
                continue
            whole = end - begin == len(valid)
            clip = folder / split / (path.stem if whole else f"{path.stem}_{begin:06d}")
            parts = {name: array[begin:end] for name, array in arrays.items()}
            importing.write_clip(summary, clip, parts)
            about = {"source": str(path.relative_to(source)), "fps": FPS, "first_frame": begin}
            (clip / "clip.json").write_text(json.dumps(about) + "\n")

    def finish(_folder: Path) -> None:
        summary.left_out = dict(+left_out)  # without those that are 0
        if not summary.clips:
            raise TrainerError(f"{source} holds no clip of {min_frames} valid frames")

    return importing.run_import(
        source, summary, splits, add, finish, skip_bad=skip_bad, force=force
    )


def spans(valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of each run of valid frames, and the one after its last."""
    edges = np.flatnonzero(np.diff(valid.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _frames(archive: npz.Archive, group: str, name: str, width: int) -> NDArray[np.float32]:
    """(T, width) of a member: named `group:name`, or as a folder of the archive, or bare."""
    member = _member(archive, group, name)
    if member is None and group in archive.names:
        archive.array(group, MOST)  # a dictionary is pickled: this refuses it
    if member is None:
        raise ArrayError(f"it has no {group}:{name}")
    array = archive.array(member, MOST)
    if not array.ndim or not len(array) or array.size != len(array) * width:
        raise ArrayError(f"{member} has shape {array.shape}, {width} values a frame are wanted")
    return array.reshape(len(array), width).astype(np.float32)


def _member(archive: npz.Archive, group: str, name: str) -> str | None:
    spellings = [*(f"{group}{between}{name}" for between in (":", "/", ".")), name]
    return next((one for one in spellings if one in archive.names), None)


def _describe(summary: Summary) -> str:
    left = [f"{count:,} {why}" for why, count in summary.left_out.items()]
    return f"of {summary.files:,} files; frames left out: {', '.join(left) or 'none'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.motion.importers.seamless",
        "Import .npz files of Seamless Interaction as a motion data set.",
    )
    parser.add_argument(
        "--min-frames", type=int, default=MIN_FRAMES, help="leave out shorter spans of valid frames"
    )
    parser.add_argument("--keypoints", action="store_true", help="bring keypoints.npy along")
    return importing.run(parser, argv, import_seamless, lambda _: FPS, _describe)


if __name__ == "__main__":
    run_main(main)
