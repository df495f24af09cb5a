"""Codes on disk: one .npz, read without unpickling and without torch.

::

    about.json         which weights coded it, of which clips, and what decoding takes
    names.json         a list: the C clips, sorted
    lengths.npy        (C,) frames of each
    codes/NAME.npy     (Q, N) the codes of a clip: a row a codebook, a column every `hop` frames
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from pydantic import FailFast, TypeAdapter

from trainers.engine.arrays import npz
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_file
from trainers.motion.skeleton import Skeleton

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MOST = 1 << 26  # bytes of a member: days of one clip
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What codes are codes of."""

    run: str
    checkpoint: str  # the name of its folder
    weights: str  # its checksum: only the weights that coded can decode
    source: str
    split: str
    fps: float
    joints: Count
    hop: Count  # frames of a token
    quantizers: Count
    nb_code: Count
    skeleton: Skeleton | None  # that of skeleton.json, if the clips had one


_ABOUT = TypeAdapter(About)
_OBJECT = TypeAdapter(dict[str, Any])
_NAMES = TypeAdapter(Annotated[list[str], FailFast()])  # a wrong one is enough to refuse them


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The codes of some clips."""

    about: About
    lengths: dict[str, int]  # frames of each clip
    codes: dict[str, NDArray[np.integer[Any]]]  # (Q, N) of each clip

    @property
    def frames(self) -> int:
        """Of all clips."""
        return sum(self.lengths.values())


def bits_per_token(quantizers: int, nb_code: int) -> float:
    """What it takes to write a token down."""
    return quantizers * math.log2(nb_code)


def save(codes: Codes, path: Path) -> None:
    """Write the file, whole or not at all."""
    kind, skeleton = np.int16 if codes.about.nb_code <= 1 << 15 else np.int32, codes.about.skeleton
    about = {**asdict(codes.about), "skeleton": skeleton and skeleton.to_dict()}
    with whole_file(path) as unfinished, npz.writing(unfinished) as archive:
        archive.text("about", json.dumps({"format": FORMAT, **about}))
        archive.text("names", json.dumps(list(codes.lengths)))
        archive.array("lengths", np.array(list(codes.lengths.values()), dtype=np.int64))
        for name, array in codes.codes.items():
            archive.array(f"codes/{name}", np.ascontiguousarray(array, kind))


def read(path: Path) -> Codes:
    """Read a file of codes, from any source.

    Raises:
        TrainerError: if it is not one, or says what cannot be.
    """
    if not path.exists():
        raise TrainerError(f"there is no file {path}", "`gpuops encode` writes one")
    try:
        with npz.opened(path) as archive:
            about = _OBJECT.validate_json(archive.data("about.json", MOST))
            if about.get("format") != FORMAT:
                raise TrainerError(f"{path} is of another format than this program's")
            names = _NAMES.validate_json(archive.data("names.json", MOST))
            found = Codes(
                about=_ABOUT.validate_python(about),
                lengths=_lengths(names, archive.array("lengths", MOST)),
                codes={name: archive.array(f"codes/{name}", MOST) for name in names},
            )
    except (ArrayError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise TrainerError(f"{path} is not a file of codes ({reason})") from None
    _check(found, path)
    return found


def _lengths(names: list[str], frames: NDArray[Any]) -> dict[str, int]:
    if frames.dtype.kind not in "iu" or frames.shape != (len(names),) or (frames < 1).any():
        raise ArrayError("its lengths are not numbers of frames")
    if len(set(names)) != len(names):
        raise ArrayError("two of its clips have one name")
    return dict(zip(names, frames.tolist(), strict=True))


def _check(found: Codes, path: Path) -> None:
    """Refuse what would break decoding, or write outside of its folder."""
    about = found.about
    for name in (about.split, about.checkpoint, *found.codes):
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise TrainerError(f"{path} has a name that cannot be a folder's: {name!r}")
    for name, codes in found.codes.items():
        frames = found.lengths[name]
        wanted = (about.quantizers, -(-frames // about.hop))
        if codes.dtype.kind not in "iu" or codes.shape != wanted:
            raise TrainerError(
                f"{path}: {name} has codes {codes.dtype} {codes.shape}, "
                f"whole numbers {wanted} are wanted for its {frames} frames"
            )
        if codes.size and not 0 <= codes.min() <= codes.max() < about.nb_code:
            raise TrainerError(f"{path}: {name} has a code that is not in 0..{about.nb_code - 1}")
