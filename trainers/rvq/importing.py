"""What all imports share: a data set's folder appears whole or not at all."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

MARKER = "import.json"
SHOWN = 10  # reasons in the sentence; --skip-bad shows them all


def appearing(out: Path, *, force: bool) -> AbstractContextManager[Path]:
    """Give a folder to build a data set in; on leaving it appears as `out` at once.

    `force` replaces an earlier import. Raises what `whole_folder` does.
    """
    hint = "give another --out; --force replaces an earlier import"
    return whole_folder(out, replaces=MARKER if force else None, hint=hint)


def say(folder: Path, about: Mapping[str, Any]) -> None:
    """Leave word of where a data set comes from; by it an earlier import is known."""
    (folder / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array; a full disk is told as what it is, which `numpy.save` does not."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    path.write_bytes(buffer.getbuffer())


def refuse(skipped: Mapping[str, str]) -> None:
    """Refuse an import for the clips that cannot be used.

    Raises:
        TrainerError: with the first of the reasons.
    """
    shown = [f"{path}: {why}" for path, why in list(skipped.items())[:SHOWN]]
    more = [f"and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    count = f"{len(skipped)} clip{'s' * (len(skipped) > 1)} cannot be used, nothing was written"
    raise TrainerError("\n  ".join([count, *shown, *more]), hint="--skip-bad imports the others")
