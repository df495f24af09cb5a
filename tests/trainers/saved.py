"""Checkpoints read back, and compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Saved:
    """A checkpoint, read back."""

    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    trainer: dict[str, Any]
    step: int = field(init=False)

    def __post_init__(self) -> None:
        self.step = self.trainer["state"]["counters"]["step"]


def saved(folder: Path, name: str = "last") -> Saved:
    """What a run's checkpoint holds."""
    path = folder / "checkpoints" / name
    return Saved(
        weights=load_file(path / "model.safetensors"),
        ema=load_file(path / "ema.safetensors"),
        trainer=torch.load(path / "trainer.pt", weights_only=True),
    )


def difference(a: Any, b: Any, at: str = "") -> str:
    """Where two nests of values differ first, bit for bit; empty where they do not."""
    if isinstance(a, Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, Saved):
        names = ("weights", "ema", "trainer")
        return difference([getattr(a, n) for n in names], [getattr(b, n) for n in names])
    elif isinstance(a, dict) and a.keys() == b.keys():
        return next(filter(None, (difference(a[k], b[k], f"{at}.{k}") for k in a)), "")
    elif isinstance(a, (list, tuple)) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return next(filter(None, (difference(x, y, f"{at}.{i}") for i, (x, y) in pairs)), "")
    else:
        same = a == b
    return "" if same else f"{at}: {a} is not {b}"
