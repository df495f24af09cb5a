"""Mean and deviation of features: computed in one pass, or read from a file (numpy, no torch).

Shapes: T rows (frames), F features.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.files import load_json, reason

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_FEATURES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What features are normalised by, as float32 (F,)."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    baseline: NDArray[np.float32]
    """The mean of the samples as they are, which a model must beat; `mean` is that of the samples
    as training augments them."""

    def to_dict(self) -> dict[str, list[float]]:
        """Return what statistics.json holds."""
        return {part.name: getattr(self, part.name).tolist() for part in fields(self)}


@dataclass(slots=True)
class Moments:
    """Sums over rows, from which mean and deviation follow."""

    count: int = 0
    total: Any = 0.0  # (F,) float64
    squares: Any = 0.0  # (F,) float64

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Add rows (T, F)."""
        self.count += len(rows)
        self.total = self.total + rows.sum(axis=0, dtype=np.float64)
        self.squares = self.squares + np.square(rows, dtype=np.float64).sum(axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(F,)."""
        return np.asarray(self.total / self.count)

    @property
    def std(self) -> NDArray[np.float64]:
        """(F,)."""
        variance = np.asarray(self.squares / self.count) - self.mean**2
        return np.sqrt(np.maximum(variance, 0))


def read_statistics(
    path: Path, features: int, floor: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read mean and deviation: a run's statistics.json, or X_mean.npy with X_std.npy beside it.

    Deviations below `floor` are raised to it.

    Raises:
        TrainerError: if they cannot be read, or are not of that many features.
    """
    values = _from_json(path) if path.suffix.lower() == ".json" else _from_pair(path)
    for name, array in values.items():
        if array.shape != (features,):
            shape = f"shape {array.shape}" if array.ndim != 1 else f"{len(array)} values"
            raise TrainerError(
                f"{path}: the {name} has {shape}, the data has {features} features a frame",
                "give statistics of the same features, or leave --statistics out: "
                "they are computed from the training split then",
            )
        if not np.isfinite(array).all():
            raise TrainerError(f"{path}: the {name} holds a value that is not finite")
    if (values["std"] < 0).any():
        raise TrainerError(f"{path}: the std holds a value below 0", "give deviations, not logs")
    std = np.maximum(values["std"].astype(np.float32), np.float32(floor))
    return values["mean"].astype(np.float32), std


def _from_json(path: Path) -> dict[str, NDArray[Any]]:
    hint = 'it must be a JSON object with lists "mean" and "std"'
    given = load_json(path, hint)
    try:
        return {name: np.asarray(given[name], dtype=np.float64) for name in ("mean", "std")}
    except MALFORMED:
        raise TrainerError(f"{path} holds no statistics", hint) from None


def _from_pair(path: Path) -> dict[str, NDArray[Any]]:
    # The last such word counts: X_mean.npy for X_std.npy, and the other way round.
    word = max(("mean", "std"), key=path.name.rfind)
    before, found, after = path.name.rpartition(word)
    if path.suffix != ".npy" or not found:
        raise TrainerError(
            f"{path} cannot be used as statistics",
            "give a .json, or X_mean.npy with X_std.npy beside it",
        )
    return {name: _vector(path.with_name(f"{before}{name}{after}")) for name in ("mean", "std")}


def _vector(path: Path) -> NDArray[Any]:
    try:
        head = npy.read_head(str(path))
        if head.nbytes > 8 * MAX_FEATURES:
            raise TrainerError(f"{path} holds {head.shape} values, but it must be a vector")
        values: NDArray[Any] = np.load(path, allow_pickle=False)
        return values.squeeze()
    except (npy.ArrayError, OSError) as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}") from None
