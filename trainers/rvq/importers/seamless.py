"""Import the .npz files of Seamless Interaction.

`python -m trainers.rvq.importers.seamless SRC --out OUT` runs it alone.

SRC holds `{improvised,naturalistic}/{train,dev,test}/**/V00_S0809_I00000582_P0947.npz`, or a part
of that. OUT gets `<split>/<clip>/{pose,translation}.npy` and `clip.json`: pose (T, 156) axis-angle
of SMPL-H, translation (T, 3) in centimetres, both as they are. Clips are cut at frames whose
`is_valid` is not set. A window is then a slice of a mapped array, not a whole file to unpack.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from trainers.engine import importing
from trainers.engine.arrays import npz
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.tables import quiet_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPLITS = ("train", "val", "dev", "test")
BODY = "smplh"
# The order of the model's joints, and the values of a frame.
PARTS = {"global_orient": 3, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45}
FPS = 30.0
MIN_FRAMES = 16
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
class Summary:
    """What an import did."""

    out: str
    files: int
    clips: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    """Frames, by the reason."""
    skipped: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


def find_files(source: Path) -> dict[str, list[Path]]:
    """List the files of each split, sorted by path; `source` itself may be a split's folder.

    Raises:
        TrainerError: if there is none, or if a file belongs to no split.
    """
    if not source.is_dir():
        raise TrainerError(f"{source} is not a folder", "give the folder that holds the data set")
    found: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*.npz")):
        folders = (*path.relative_to(source).parts[:-1], source.resolve().name)
        split = next((part for part in folders if part in SPLITS), "")
        found.setdefault(split, []).append(path)
    if not found:
        raise TrainerError(
            f"{source} holds no .npz file", "give the folder that holds the data set"
        )
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
        beside = _some(archive, BODY, {"translation": 3})
        if keypoints:
            beside |= _some(archive, "boxes_and_keypoints", {"keypoints": 3 * 133})
        valid = _some(archive, BODY, {"is_valid": 1})
    frames = {name: len(array) for name, array in {**body, **beside, **valid}.items()}
    if len(set(frames.values())) > 1:
        each = ", ".join(f"{count} of {name}" for name, count in frames.items())
        raise ArrayError(f"its arrays differ in frames: {each}")
    pose = np.concatenate(list(body.values()), axis=1)
    return Interaction(
        pose=pose,
        beside=beside,
        valid=valid["is_valid"][:, 0] != 0 if valid else np.ones(len(pose), bool),
    )


def import_seamless(
    source: Path,
    out: Path,
    *,
    min_frames: int = MIN_FRAMES,
    keypoints: bool = False,
    skip_bad: bool = False,
    force: bool = False,
    console: Console | None = None,
) -> Summary:
    """Import every file of `source` into a new folder `out`, all or nothing.

    Raises:
        TrainerError: nothing to import, files that cannot be used (unless `skip_bad`), or an `out`
            that holds something.
    """
    files = [(split, path) for split, paths in find_files(source).items() for path in paths]
    summary = Summary(out=str(out), files=len(files))
    importer = _Importer(source, summary, min_frames=min_frames, keypoints=keypoints)
    return importing.run_import(
        source, out, files, importer, skip_bad=skip_bad, force=force, console=console
    )


def spans(valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first frame of each run of valid frames, and the one after its last."""
    edges = np.flatnonzero(np.diff(valid.astype(np.int8), prepend=0, append=0))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


class _Importer:
    """Writes a clip for each span of frames that can be used."""

    def __init__(self, source: Path, summary: Summary, *, min_frames: int, keypoints: bool) -> None:
        self.source, self.summary = source, summary
        self.skipped = summary.skipped
        self.min_frames, self.keypoints = min_frames, keypoints

    def add(self, folder: Path, item: tuple[str, Path]) -> None:
        split, path = item
        try:
            found = read(path, keypoints=self.keypoints)
        except ArrayError as error:
            self.skipped[str(path)] = str(error)
            return
        finite = np.isfinite(found.pose).all(axis=1)
        self._leave_out("not valid", int((~found.valid).sum()))
        self._leave_out("not finite", int((found.valid & ~finite).sum()))
        for begin, end in spans(found.valid & finite):
            if end - begin < self.min_frames:
                self._leave_out(f"in spans of less than {self.min_frames}", end - begin)
                continue
            whole = end - begin == len(found.pose)
            clip = folder / split / (path.stem if whole else f"{path.stem}_{begin:06d}")
            if clip.exists():
                name = str(path.relative_to(self.source))
                self.skipped[name] = f"there is a clip {clip.name} already: rename it"
                return
            self._write(clip, path, found, begin, end)
            _count(self.summary.clips, split, 1)
            _count(self.summary.frames, split, end - begin)

    def _write(self, clip: Path, path: Path, found: Interaction, begin: int, end: int) -> None:
        clip.mkdir(parents=True)
        for what, array in {"pose": found.pose, **found.beside}.items():
            importing.save(clip / f"{what}.npy", array[begin:end])
        about = {"source": str(path.relative_to(self.source)), "fps": FPS, "first_frame": begin}
        (clip / "clip.json").write_text(json.dumps(about) + "\n")

    def _leave_out(self, why: str, frames: int) -> None:
        if frames:
            _count(self.summary.left_out, why, frames)

    def finish(self, _folder: Path, took_s: float) -> Summary:
        if not sum(self.summary.clips.values()):
            raise TrainerError(f"{self.source} holds no clip of {self.min_frames} valid frames")
        self.summary.took_s = took_s
        return self.summary


def _count(counts: dict[str, int], name: str, more: int) -> None:
    counts[name] = counts.get(name, 0) + more


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


def _some(
    archive: npz.Archive, group: str, widths: dict[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Those of the members that are there."""
    return {
        name: _frames(archive, group, name, width)
        for name, width in widths.items()
        if _member(archive, group, name)
    }


def _member(archive: npz.Archive, group: str, name: str) -> str | None:
    spellings = [*(f"{group}{between}{name}" for between in (":", "/", ".")), name]
    return next((one for one in spellings if one in archive.names), None)


def show(summary: Summary, console: Console) -> None:
    """Print the closing summary as a table."""
    table = quiet_table("split", "clips", "frames", "hours")
    for split, clips in summary.clips.items():
        frames = summary.frames[split]
        table.add_row(split, f"{clips:,}", f"{frames:,}", f"{frames / FPS / 3600:.2f}")
    importing.show_counts(summary.out, table, console)
    left = [f"{count:,} {why}" for why, count in summary.left_out.items()]
    console.print(
        f"of {summary.files:,} files in {summary.took_s:.1f} s; "
        f"frames left out: {', '.join(left) or 'none'}",
        soft_wrap=True,
    )
    importing.show_skipped(summary.skipped, console)


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
    return importing.run(parser, argv, import_seamless, show)


if __name__ == "__main__":
    run_main(main)
