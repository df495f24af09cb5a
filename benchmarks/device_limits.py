"""What a device does at best, and what a training step asks of it.

The matrix ceiling is a large product of matrices, the copy ceiling a large copy. What a step moves
is what its eager operations read and write.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class Moved(TorchDispatchMode):
    """Counts the bytes that operations read and write; a view moves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and count."""
        kwargs = kwargs or {}
        answer = func(*args, **kwargs)
        if not func.is_view:
            tensors = pytree.tree_leaves((args, kwargs, answer))
            self.bytes += sum(t.nbytes for t in tensors if isinstance(t, Tensor))
        return answer


def work(step: Callable[[], object]) -> tuple[int, int]:
    """Floating point operations of a step, and bytes that it moves; it is taken twice."""
    with FlopCounterMode(display=False) as counter:
        step()
    with Moved() as moved:
        step()
    return counter.get_total_flops(), moved.bytes


def matrix_ceiling(device: torch.device, precision: torch.dtype | None) -> float:
    """Floating point operations a second of a large product of matrices."""
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=precision)
    # As convolutions of float32 do by themselves.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    best = fastest(lambda: one @ one, device)
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * size**3 / best


def copy_ceiling(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy."""
    one = torch.randn(2**28 if device.type == "cuda" else 2**26, device=device)
    other = torch.empty_like(one)
    return 2 * one.nbytes / fastest(lambda: other.copy_(one), device)


def fastest(what: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of ten."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def once() -> None:
        what()
        wait()

    def timed() -> float:
        began = time.perf_counter()
        once()
        return time.perf_counter() - began

    once()
    return min(timed() for _ in range(10))
