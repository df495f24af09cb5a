"""NumPy arrays in files, by their heads: what is promised is compared with what is there.

Nothing is allocated, read or mapped before, and nothing is ever unpickled. Torch-free.
"""

from __future__ import annotations

import io
import math
import os
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
MOST = 10_240  # bytes of a head; NumPy's own limit is a little less
_FIRST = 256  # bytes that nearly every head fits into
_AXES = 32  # that NumPy has, in all its versions
# As NumPy writes it. Parsing such a head as Python takes ten times as long as reading it.
_PLAIN = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>|=](?:b1|[iu][1248]|f[248]))', "
    rb"'fortran_order': (True|False), 'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), \} *\n",
    re.DOTALL,
)


class ArrayError(Exception):
    """An array cannot be read; the message completes "FILE cannot be read: ..."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first bytes say of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    begin: int  # bytes before the values

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_head(path: str) -> Head:
    """The head of a .npy file, with all of its values behind it.

    Raises ArrayError, or OSError if the file cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    try:
        first, there = os.read(handle, _FIRST), os.fstat(handle).st_size
        if len(first) == _FIRST and not _PLAIN.match(first):
            first += os.read(handle, MOST - _FIRST)
    finally:
        os.close(handle)
    return parse(first, there)


def parse(first: bytes, there: int) -> Head:
    """The head in the first bytes of an array that has ``there`` bytes, head included.

    Raises ArrayError if that is not an array, holds pickled objects, or ends too early.
    """
    plain = _PLAIN.match(first)
    if plain is not None and plain.end() == 10 + int.from_bytes(plain[1], "little"):
        head = Head(
            dtype=np.dtype(plain[2].decode()),
            shape=tuple(int(size) for size in plain[4].split(b",") if size.strip()),
            fortran=plain[3] == b"True",
            begin=plain.end(),
        )
    else:
        head = _odd(first)
    if len(head.shape) > _AXES or not all(0 <= size < 1 << 63 for size in head.shape):
        raise ArrayError("its head is damaged (no array has such a shape)")
    if head.begin + head.nbytes > there:
        whole = head.begin + head.nbytes
        raise ArrayError(f"it is cut off: {there:,} of {whole:,} bytes are there")
    return head


def _odd(first: bytes) -> Head:
    """Any other head that NumPy understands."""
    if not first:
        raise ArrayError("it is empty")
    if not first.startswith(_MAGIC):
        pickled = first.startswith(b"\x80")
        raise ArrayError(
            "it is a pickle, which is never loaded" if pickled else "it is not a NumPy array"
        )
    file = io.BytesIO(first)
    try:
        version = np.lib.format.read_magic(file)
        read: Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArrayError(f"its head is damaged ({why})") from None
    except (RecursionError, MemoryError):
        raise ArrayError("its head is damaged") from None
    if dtype.hasobject:
        raise ArrayError("it holds pickled objects, which are never loaded")
    if dtype.kind not in "biufc":
        raise ArrayError(f"it holds no numbers ({dtype})")
    return Head(dtype=dtype, shape=shape, fortran=fortran, begin=file.tell())


def mapped(file: Any, head: Head, at: int = 0) -> NDArray[Any]:
    """The values that stand behind a head, which itself stands at a place of a file; read-only."""
    return np.memmap(
        file,
        dtype=head.dtype,
        mode="r",
        offset=at + head.begin,
        shape=head.shape,
        order="F" if head.fortran else "C",
    )
