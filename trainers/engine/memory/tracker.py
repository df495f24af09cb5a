"""The bytes of living tensors by part (parameters, activations, ...), and their maximum."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PARTS = ("parameters", "buffers", "optimizer", "average", "gradients", "batch", "activations")

_aten = torch.ops.aten
_INDEXING = {_aten.index, _aten._unsafe_index, _aten.index_put, _aten.index_put_}  # noqa: SLF001
_INDEXING |= {_aten._index_put_impl_, _aten._unsafe_index_put}  # noqa: SLF001

# How torch's CUDA allocator asks the driver: blocks of up to 1 MiB share segments of 2 MiB, those
# below 10 MiB segments of 20 MiB, and what is larger has a segment of its own.
_MIB = 1 << 20
_BLOCK = 512
_SMALL, _LARGE = _MIB, 10 * _MIB
_SEGMENT, _SHARED_SEGMENT = 2 * _MIB, 20 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes of all tensors at the fullest moment, by part; the most at any moment of each phase.

    ``rounding_bytes`` is what CUDA's blocks and segments take beyond them, if none is in pieces.
    """

    peak_bytes: int = 0
    at: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    rounding_bytes: int = 0


@dataclass(slots=True)
class _Storage:
    size: int
    part: str
    end: Any


class MemoryTracker(TorchDispatchMode):
    """Follows every storage that an operation makes inside, until its last tensor lets go of it.

    Storages are of the part ``activations`` unless ``part`` or ``assign`` say otherwise; which
    phase it is, is ``phase``. Views and results in place have the storage of what they are of.
    What a kernel takes for itself while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = "build"
        self._part = "activations"
        self._live = dict.fromkeys(PARTS, 0)
        self._total = 0
        self._shared = {_SEGMENT: 0, _SHARED_SEGMENT: 0}
        self._own = 0
        self._peak = Need()
        self._phases: dict[str, int] = {}
        self._held: dict[int, _Storage] = {}

    @property
    def need(self) -> Need:
        """The fullest moment so far."""
        return replace(self._peak, phases=dict(self._phases))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Inside, new storages are this part's."""
        before, self._part = self._part, name
        try:
            yield
        finally:
            self._part = before

    def assign(self, name: str, tensors: Iterable[Tensor]) -> None:
        """Make these tensors' storages this part's, whatever they were before."""
        for tensor in tensors:
            self._see(tensor)  # one that was made outside is not known yet
            held = self._held[_address(tensor)]
            self._live[held.part] -= held.size
            self._live[name] += held.size
            held.part = name

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.prim.device.default:  # of three calls two ask for it
            return args[0].fake_device
        result = func(*_as_if_all_were_picked(func, args), **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result

    def _see(self, tensor: Tensor) -> None:
        address = _address(tensor)
        if address in self._held:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        end = ref(storage, partial(self._forget, address))
        self._held[address] = _Storage(size, self._part, end)
        self._live[self._part] += size
        self._count(size)
        self._phases[self.phase] = max(self._phases.get(self.phase, 0), self._total)
        if self._total > self._peak.peak_bytes:
            self._peak = Need(
                peak_bytes=self._total,
                at=self.phase,
                parts=dict(self._live),
                rounding_bytes=self._segments() - self._total,
            )

    def _forget(self, address: int, _end: Any) -> None:
        held = self._held.pop(address)
        self._live[held.part] -= held.size
        self._count(-held.size)

    def _count(self, change: int) -> None:
        self._total += change
        size, sign = abs(change), 1 if change > 0 else -1
        if size < _LARGE:
            segment = _SEGMENT if size <= _SMALL else _SHARED_SEGMENT
            self._shared[segment] += sign * _rounded(size, _BLOCK)
        else:
            self._own += sign * _rounded(size, _SEGMENT)

    def _segments(self) -> int:
        return self._own + sum(_rounded(size, segment) for segment, size in self._shared.items())


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - tensors of one storage share it


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _as_if_all_were_picked(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """How many rows a mask picks is in the data: here it picks all, which is the most."""
    if getattr(func, "overloadpacket", None) not in _INDEXING:
        return args
    picks: list[Tensor | None] = []
    for index in args[1]:
        if index is not None and index.dtype is torch.bool:
            row = index.new_empty(index.numel(), dtype=torch.int64)
            picks += [row] * index.dim()
        else:
            picks.append(index)
    return (args[0], picks, *args[2:])
