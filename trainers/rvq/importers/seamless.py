"""Import the .npz files of Seamless Interaction.

`python -m trainers.rvq.importers.seamless SRC --out OUT` runs it alone.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """What is taken from a file."""

    pose: NDArray[np.float32]
    """(T, 156)"""
    beside: dict[str, NDArray[np.float32]]
    """Other arrays of T frames, by the name of their file."""
    valid: NDArray[np.bool_]
    """(T,) whether the body was found."""


@dataclass(slots=True, kw_only=True)
class Summary(importing.Summary):
    """What an import did."""

    files: int
    left_out: dict[str, int] = field(default_factory=dict)
    """Frames, by the reason."""


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


def read(path: Path, *, keypoints: bool = False) -> Interaction:
    """Read the body's motion of a file; nothing is unpickled, sizes are checked first.

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
    return Interaction(pose=pose, beside=beside, valid=valid)


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
    importer = _Importer(source, summary, min_frames, keypoints=keypoints)
    return importing.run_import(importer, splits, skip_bad=skip_bad, force=force)


def spans(valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of each run of valid frames, and the one after its last."""
    edges = np.flatnonzero(np.diff(valid.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


class _Importer(importing.Importer[Summary]):
    """Writes a clip for each span of frames that can be used."""

    def __init__(self, source: Path, summary: Summary, min_frames: int, *, keypoints: bool) -> None:
        super().__init__(source, summary)
        self.min_frames, self.keypoints = min_frames, keypoints
        self.left_out: Counter[str] = Counter()

    def add(self, folder: Path, split: str, path: Path) -> None:
        try:
            found = read(path, keypoints=self.keypoints)
        except ArrayError as error:
            raise UnusableError(str(error)) from None
        arrays = {"pose": found.pose, **found.beside}
        finite = np.isfinite(found.pose).all(axis=1)
        self.left_out["not valid"] += int((~found.valid).sum())
        self.left_out["not finite"] += int((found.valid & ~finite).sum())
        for begin, end in spans(found.valid & finite):
            if end - begin < self.min_frames:
                self.left_out[f"in spans of less than {self.min_frames}"] += end - begin
                continue
            whole = end - begin == len(found.pose)
            clip = folder / split / (path.stem if whole else f"{path.stem}_{begin:06d}")
            self.write_clip(clip, {name: array[begin:end] for name, array in arrays.items()})
            about = {"source": str(path.relative_to(self.source)), "fps": FPS, "first_frame": begin}
            (clip / "clip.json").write_text(json.dumps(about) + "\n")

    def finish(self, _folder: Path) -> None:
        self.summary.left_out = dict(+self.left_out)  # without those that are 0
        if not self.summary.clips:
            raise TrainerError(f"{self.source} holds no clip of {self.min_frames} valid frames")


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
        "trainers.rvq.importers.seamless",
        "Import .npz files of Seamless Interaction as a motion data set.",
    )
    parser.add_argument(
        "--min-frames", type=int, default=MIN_FRAMES, help="leave out shorter spans of valid frames"
    )
    parser.add_argument("--keypoints", action="store_true", help="bring keypoints.npy along")
    return importing.run(parser, argv, import_seamless, lambda _: FPS, _describe)


if __name__ == "__main__":
    run_main(main)
