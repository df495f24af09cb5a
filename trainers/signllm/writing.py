"""Signed texts as files: films, arrays, and the formats of pose-format and ProgressiveTransformers.

Shapes: T frames, J = 50 joints, V = 150 values.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import ConfigError, TrainerError
from trainers.engine.files import whole_file
from trainers.signllm.skeleton import BODY, BONES, COUNT, JOINTS, LEFT_HAND, RIGHT_HAND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.signllm.signed import Signed

FOR_ALL = (".gif", ".mp4", ".png", ".skels")  # one file holds all texts
FOR_ONE = (".npz", ".pose")  # each text has a file
FRAME_PX, MARGIN_PX = 512, 32  # of a .pose file
COMPONENTS = {
    "POSE": (range(len(BODY)), (70, 70, 90)),
    "LEFT_HAND": (LEFT_HAND, (224, 128, 58)),
    "RIGHT_HAND": (RIGHT_HAND, (58, 127, 196)),
}


def check_name(path: Path) -> None:
    """Refuse a name whose ending says no format.

    Raises:
        ConfigError: it ends in none of them.
    """
    if path.suffix not in (*FOR_ALL, *FOR_ONE):
        raise ConfigError(
            f"{path} has no ending that says what to write",
            f"end it in {', '.join((*FOR_ALL, *FOR_ONE))}",
        )


def write(signed: Sequence[Signed], path: Path) -> list[Path]:
    """Write signed texts, each file whole or not at all; return the files, in order.

    Films, pictures and .skels hold all of them. Of .npz and .pose each text has its own: several
    are named NAME-1, NAME-2 and so on.

    Raises:
        ConfigError: the name says no format.
        TrainerError: a file cannot be written, or what the format needs is not installed.
    """
    check_name(path)
    if path.suffix == ".skels":
        return _write_skels(signed, path)
    if path.suffix in FOR_ALL:
        _draw(signed, path)
        return [path]
    alone = len(signed) == 1
    paths = [
        path if alone else path.with_stem(f"{path.stem}-{number}")
        for number in range(1, len(signed) + 1)
    ]
    write_one = _write_npz if path.suffix == ".npz" else _write_pose
    for one, target in zip(signed, paths, strict=True):
        with whole_file(target) as unfinished:
            write_one(one, unfinished)
    return paths


def _draw(signed: Sequence[Signed], path: Path) -> None:
    from trainers.signllm import drawing  # noqa: PLC0415 - matplotlib is slow to load

    scenes = [
        drawing.Scene(
            title=one.text,
            subtitle=one.about,
            fps=one.fps,
            panels=(drawing.Panel(title=f"{len(one.poses)} frames", poses=one.poses),),
        )
        for one in signed
    ]
    with whole_file(path) as unfinished:
        (drawing.picture if path.suffix == ".png" else drawing.film)(scenes, unfinished)


def _write_npz(signed: Signed, path: Path) -> None:
    np.savez_compressed(
        path,
        poses=signed.poses.astype(np.float32),
        text=np.array(signed.text),
        language=np.array(signed.language),
        fps=np.array(signed.fps),
    )


def _write_skels(signed: Sequence[Signed], path: Path) -> list[Path]:
    """Write a sentence a line, with its text (and its glosses, if known) beside it.

    A frame is V values and its progress from 0 to 1; a joint that was not seen is three times 0.
    """
    beside = {".text": [one.text for one in signed]}
    glosses = [one.gloss for one in signed if one.gloss is not None]
    if len(glosses) == len(signed):
        beside[".gloss"] = [" ".join(gloss) for gloss in glosses]
    written = {path: [_skels_line(one.poses) for one in signed]}
    written |= {
        path.with_suffix(suffix): [" ".join(line.split()) for line in lines]
        for suffix, lines in beside.items()
    }
    with ExitStack() as stack:  # on leaving, all of them appear
        for target, lines in written.items():
            unfinished = stack.enter_context(whole_file(target))
            unfinished.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return list(written)


def _skels_line(poses: NDArray[np.float32]) -> str:
    progress = np.linspace(0, 1, len(poses), dtype=np.float32)
    frames = np.concatenate([np.nan_to_num(poses, nan=0.0), progress[:, None]], axis=1)
    return " ".join(f"{value:.9g}" for value in frames.ravel().tolist())


def _write_pose(signed: Signed, path: Path) -> None:
    """Write a .pose file: the signer in the middle of a picture, with y downwards.

    Raises:
        TrainerError: pose-format is not installed.
    """
    try:
        from pose_format import Pose  # noqa: PLC0415 - only those who use it need it
        from pose_format.numpy.pose_body import NumPyPoseBody  # noqa: PLC0415 - as above
        from pose_format.pose_header import (  # noqa: PLC0415 - as above
            PoseHeader,
            PoseHeaderComponent,
            PoseHeaderDimensions,
        )
    except ImportError:
        raise TrainerError(
            f"{path.suffix} files need the package pose-format",
            "pip install 'gpuops[text]'; or write a .npz",
        ) from None
    places, seen = _in_picture(signed.poses)
    components = [
        PoseHeaderComponent(
            name=name,
            points=[JOINTS[joint] for joint in joints],
            limbs=[(a - joints[0], b - joints[0]) for a, b in BONES if a in joints and b in joints],
            colors=[colour],
            point_format="XYZC",
        )
        for name, (joints, colour) in COMPONENTS.items()
    ]
    size = PoseHeaderDimensions(width=FRAME_PX, height=FRAME_PX, depth=FRAME_PX)
    pose = Pose(
        PoseHeader(version=0.2, dimensions=size, components=components),
        NumPyPoseBody(fps=signed.fps, data=places[:, None], confidence=seen[:, None]),
    )
    with path.open("wb") as file:
        pose.write(file)


def _in_picture(poses: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(T, V) -> places (T, J, 3) in pixels of a picture, and whether each was seen (T, J)."""
    joints = poses.reshape(len(poses), COUNT, 3).astype(np.float64)
    seen = np.asarray(np.isfinite(joints).all(axis=-1))
    nose_over_neck = (joints[:, 0, 1] - joints[:, 1, 1])[seen[:, 0] & seen[:, 1]]
    if len(nose_over_neck) and np.median(nose_over_neck) > 0:
        joints[..., 1] *= -1
    there = joints[seen] if seen.any() else np.zeros((1, 3))
    low, high = there.min(axis=0), there.max(axis=0)
    scale: Any = (FRAME_PX - 2 * MARGIN_PX) / max(float((high - low)[:2].max()), 1e-9)
    placed = (joints - (low + high) / 2) * scale + FRAME_PX / 2
    placed = np.where(seen[..., None], placed, 0)
    return placed.astype(np.float32), np.asarray(seen, dtype=np.float32)
