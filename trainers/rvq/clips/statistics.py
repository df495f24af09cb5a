"""What features are normalised by: computed by `data.py`, or read from a file (numpy, no torch)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.files import reason

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MOST = 100_000  # features


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Mean and deviation of each feature over the training split, as float32 (F,)."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    mean_pose: NDArray[np.float32]
    """The mean of the clips as they are; `mean` is that of the clips as they are varied."""

    def to_dict(self) -> dict[str, list[float]]:
        """Return what statistics.json holds."""
        return {name: getattr(self, name).tolist() for name in ("mean", "std", "mean_pose")}


def read_statistics(
    path: Path, features: int, floor: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read mean and deviation: a run's statistics.json, or X_mean.npy with X_std.npy beside it.

    Raises:
        TrainerError: where they cannot be read, or are not of that many features.
    """
    values = _from_json(path) if path.suffix.lower() == ".json" else _from_pair(path)
    for name, array in values.items():
        if array.shape != (features,):
            shape = f"shape {array.shape}" if array.ndim != 1 else f"{len(array)} values"
            raise TrainerError(
                f"{path}: the {name} has {shape}, the data has {features} features a frame",
                "give statistics of the same joints and --rotation, or leave --statistics out: "
                "they are computed from the training split then",
            )
        if not np.isfinite(array).all():
            raise TrainerError(f"{path}: the {name} holds a value that is not finite")
    if (values["std"] < 0).any():
        raise TrainerError(f"{path}: the std holds a value below 0", "give deviations, not logs")
    std = np.maximum(values["std"].astype(np.float32), np.float32(floor))
    return values["mean"].astype(np.float32), std


def _from_json(path: Path) -> dict[str, NDArray[Any]]:
    try:
        given = json.loads(path.read_bytes())
        return {name: np.asarray(given[name], dtype=np.float64) for name in ("mean", "std")}
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}") from None
    except MALFORMED:
        raise TrainerError(
            f"{path} holds no statistics", 'a JSON object with lists "mean" and "std" is wanted'
        ) from None


def _from_pair(path: Path) -> dict[str, NDArray[Any]]:
    stem = path.name
    if path.suffix != ".npy" or ("mean" not in stem and "std" not in stem):
        raise TrainerError(
            f"{path} cannot be used as statistics",
            "a .json is wanted, or X_mean.npy with X_std.npy beside it",
        )
    pair = {name: path.with_name(_named(stem, name)) for name in ("mean", "std")}
    return {name: _vector(one) for name, one in pair.items()}


def _named(stem: str, name: str) -> str:
    """X_mean.npy for X_std.npy, and the other way round; the last such word counts."""
    word = max(("mean", "std"), key=stem.rfind)
    before, _, after = stem.rpartition(word)
    return f"{before}{name}{after}"


def _vector(path: Path) -> NDArray[Any]:
    try:
        head = npy.read_head(str(path))
        if head.nbytes > 8 * MOST:
            raise TrainerError(f"{path} holds {head.shape} values, a vector is wanted")
        values: NDArray[Any] = np.load(path, allow_pickle=False)
        return values.squeeze()
    except npy.ArrayError as error:
        raise TrainerError(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}") from None
