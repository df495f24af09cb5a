"""What all imports share: a data set's folder appears whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.engine.files import reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SHOWN = 10  # reasons in the sentence; --skip-bad shows them all


@contextmanager
def appearing(out: Path, marker: str, *, force: bool) -> Iterator[Path]:
    """Give a folder to build a data set in; on leaving it appears as `out` at once.

    Whatever fails, nothing of it stays. `force` replaces an earlier import, which is known by the
    file `marker`. Of two imports into one folder, the first to end has it.

    Raises:
        TrainerError: where `out` holds something, or cannot be written.
    """
    _check(out, marker, force=force)
    building = out.parent / f".{out.name}.importing-{os.getpid()}"
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        put_in_place(building, out, force=force)
    except OSError as error:
        raise TrainerError(f"{out} cannot be written: {reason(error)}") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def put_in_place(built: Path, out: Path, *, force: bool) -> None:
    """Rename a finished folder; where that fails, what stood there stands there again."""
    if not force or not out.exists():
        try:
            built.rename(out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise TrainerError(
                f"{out} was filled by another import meanwhile", "give another --out"
            ) from None
        return
    aside = out.parent / f".{out.name}.replaced-{os.getpid()}"
    out.rename(aside)
    try:
        built.rename(out)
    except BaseException:
        aside.rename(out)
        raise
    shutil.rmtree(aside)


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


def _check(out: Path, marker: str, *, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise TrainerError(f"{out} is a file", hint="give another --out")
    if any(out.iterdir()):
        if not force:
            raise TrainerError(f"{out} is not empty", hint="--force replaces an earlier import")
        if not (out / marker).is_file():
            raise TrainerError(
                f"{out} does not look like an earlier import, so it is not replaced",
                hint="give another --out",
            )
