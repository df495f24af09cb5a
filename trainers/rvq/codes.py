"""Codes on disk: one .npz, read without unpickling and without torch.

::

    about          JSON: which weights coded it, of which clips, and what decoding takes
    names          (C,) the clips, sorted
    lengths        (C,) frames of each
    codes/NAME     (Q, N) the codes of a clip: a row a codebook, a column every `hop` frames
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from pydantic import TypeAdapter

from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What codes are codes of."""

    run: str
    checkpoint: str
    """The name of its folder."""
    weights: str
    """Its checksum: only the weights that coded can decode."""
    source: str
    split: str
    fps: float | None
    joints: Count
    hop: Count
    """Frames of a token."""
    quantizers: Count
    nb_code: Count
    skeleton: dict[str, Any] | None
    """What skeleton.json holds, where the clips had one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """The codes of some clips."""

    about: About
    lengths: dict[str, int]
    """Frames of each clip."""
    codes: dict[str, NDArray[np.integer[Any]]]
    """(Q, N) of each clip."""

    @property
    def frames(self) -> int:
        """Of all clips."""
        return sum(self.lengths.values())

    @property
    def tokens(self) -> int:
        """Of all clips."""
        return sum(codes.shape[1] for codes in self.codes.values())


def bits_per_token(quantizers: int, nb_code: int) -> float:
    """What it takes to write a token down."""
    return quantizers * math.log2(nb_code)


def save(codes: Codes, path: Path) -> None:
    """Write the file, whole or not at all."""
    kind = np.int16 if codes.about.nb_code <= 1 << 15 else np.int32
    arrays: dict[str, NDArray[Any]] = {
        "about": np.array(json.dumps({"format": FORMAT, **asdict(codes.about)})),
        "names": np.array(list(codes.lengths)),
        "lengths": np.array(list(codes.lengths.values()), dtype=np.int64),
    }
    arrays |= {f"codes/{name}": one.astype(kind) for name, one in codes.codes.items()}
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> Codes:
    """Read a file of codes, which may be anybody's.

    Raises:
        TrainerError: where it is none, or says what cannot be.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about.pop("format") != FORMAT:
                raise TrainerError(f"{path} is of a format that is newer than this program")
            names, lengths = file["names"].tolist(), file["lengths"].tolist()
            found = Codes(
                about=TypeAdapter(About).validate_python(about),
                lengths=dict(zip(names, lengths, strict=True)),
                codes={name: file[f"codes/{name}"] for name in names},
            )
    except FileNotFoundError:
        raise TrainerError(f"there is no file {path}", "`gpuops encode` writes one") from None
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise TrainerError(f"{path} is no file of codes ({reason})") from None
    _check(found, path)
    return found


def _check(found: Codes, path: Path) -> None:
    """Refuse what would break decoding, or write where it should not."""
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
