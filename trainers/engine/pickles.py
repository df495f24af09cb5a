"""Pickles read as data: numbers, text, containers and NumPy arrays. No code of theirs is run.

A pickle is a program. This reads its instructions one by one (``pickletools``) and follows those
that put values together; whatever would import, call or build anything else is refused by name.
Every length is compared with what is there, and nothing made is larger than the file; but parts may
be shared, so who walks through containers in containers may never come to an end. Slower than
unpickling, by far; torch-free.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.errors import MALFORMED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST = 1 << 30  # bytes of a file
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")
_MARK = object()
_LONGEST = 80  # letters of a name
_AXES = 32


class PickleError(Exception):
    """A pickle cannot be read as data; the words say why."""


class _Name(str):
    """A thing that a pickle would import."""

    __slots__ = ()


def read(path: Path) -> Any:
    """The value in a pickle. Raises PickleError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise PickleError(str(error.strerror)) from None
    if len(data) > MOST:
        raise PickleError(f"it is larger than {MOST >> 30} GiB")
    try:
        return _Machine().run(data)
    except PickleError:
        raise
    except (RecursionError, MemoryError):
        raise PickleError("it is damaged") from None
    except (IndexError, *MALFORMED) as error:
        said = (str(error).splitlines() or [""])[0]
        raise PickleError(f"it is damaged ({said})" if said else "it is damaged") from None


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.left = 0

    def run(self, data: bytes) -> Any:
        self.left = len(data)
        push, memo = self.stack.append, self.memo
        value: Any
        for opcode, value, _ in pickletools.genops(io.BytesIO(data)):
            name = opcode.name
            if name in _VALUES:
                push(value)
            elif name == "MEMOIZE":
                memo[len(memo)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                push(memo[int(value)])
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(value)] = self.stack[-1]
            elif name in _STEPS:
                _STEPS[name](self)
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                module = value.replace(" ", ".", 1) if value else ".".join(self.last(2))
                push(_Name(module[:_LONGEST]))
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise PickleError(f"it wants to run code ({name})")
        raise PickleError("it is cut off")

    def last(self, count: int) -> list[Any]:
        """Take the last values off the stack."""
        if count > len(self.stack):
            raise IndexError("too few values")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def marked(self) -> list[Any]:
        """Take all values off the stack down to the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise IndexError("no mark")

    def call(self) -> None:
        name, arguments = self.last(2)
        maker = _MAKERS.get(name) if isinstance(name, _Name) else None
        if maker is None:
            said = name if isinstance(name, _Name) else "REDUCE"
            raise PickleError(f"it wants to run code ({said})")
        made = maker(*arguments)
        if isinstance(made, bytes):  # of a text, which could be taken again and again
            self.left -= len(made)
            if self.left < 0:
                raise PickleError("it holds damaged bytes")
        self.stack.append(made)

    def build(self) -> None:
        target, state = self.last(2)
        if isinstance(target, np.dtype):
            if state[1] not in ("<", "|", "="):
                raise PickleError("its arrays are of another byte order")
        elif isinstance(target, np.ndarray):
            _, shape, dtype, fortran, data = state
            _check(data, dtype, shape)
            target.__setstate__((1, tuple(shape), dtype, bool(fortran), bytes(data)))  # type: ignore[arg-type]
        else:
            raise PickleError("it wants to run code (BUILD)")
        self.stack.append(target)

    def fill(self, values: list[Any]) -> None:
        """Put values into the container on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(_pairs(values))
        elif isinstance(target, set):
            target.update(map(_key, values))
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise TypeError("nothing to fill")


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(_key, values[::2]), values[1::2], strict=True))


def _key(value: Any) -> Any:
    """A tuple of tuples of tuples may be hashed for ever: parts that are shared are hashed anew."""
    if not isinstance(value, (str, bytes, int, float, np.generic)):
        raise PickleError("it has keys that are neither text nor numbers")
    return value


def _check(data: Any, dtype: Any, shape: Any) -> None:
    if not isinstance(dtype, np.dtype) or not isinstance(data, (bytes, bytearray)):
        raise PickleError("its arrays are damaged")
    if not (isinstance(shape, tuple) and len(shape) <= _AXES and all(map(_is_size, shape))):
        raise PickleError("an array has a shape that no array has")
    wanted = dtype.itemsize * math.prod(shape)
    if wanted != len(data):
        raise PickleError(f"an array of {wanted:,} bytes has {len(data):,}")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63


def _dtype(name: Any, *_: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        said = name[:_LONGEST] if isinstance(name, str) else "what is none"
        raise PickleError(f"it holds an array of {said}")
    return np.dtype(name)


def _scalar(dtype: Any, data: Any) -> Any:
    _check(data, dtype, ())
    return np.frombuffer(data, dtype)[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    _check(data, dtype, shape)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise PickleError("it holds damaged bytes")
    return text.encode("latin1")


_MAKERS: dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "_codecs.encode": _encode}
for _core in ("numpy.core", "numpy._core"):
    _MAKERS[f"{_core}.multiarray._reconstruct"] = lambda *_: np.empty(0, np.int8)
    _MAKERS[f"{_core}.multiarray.scalar"] = _scalar
    _MAKERS[f"{_core}.numeric._frombuffer"] = _from_buffer

# What pickletools has decoded already.
_VALUES = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    ]
)
_STEPS: dict[str, Callable[[_Machine], Any]] = {
    "NONE": lambda m: m.stack.append(None),
    "NEWTRUE": lambda m: m.stack.append(True),
    "NEWFALSE": lambda m: m.stack.append(False),
    "MARK": lambda m: m.stack.append(_MARK),
    "POP": lambda m: m.stack.pop(),
    "POP_MARK": lambda m: m.marked(),
    "DUP": lambda m: m.stack.append(m.stack[-1]),
    "EMPTY_LIST": lambda m: m.stack.append([]),
    "EMPTY_DICT": lambda m: m.stack.append({}),
    "EMPTY_SET": lambda m: m.stack.append(set()),
    "EMPTY_TUPLE": lambda m: m.stack.append(()),
    "TUPLE1": lambda m: m.stack.append(tuple(m.last(1))),
    "TUPLE2": lambda m: m.stack.append(tuple(m.last(2))),
    "TUPLE3": lambda m: m.stack.append(tuple(m.last(3))),
    "TUPLE": lambda m: m.stack.append(tuple(m.marked())),
    "LIST": lambda m: m.stack.append(m.marked()),
    "DICT": lambda m: m.stack.append(_pairs(m.marked())),
    "FROZENSET": lambda m: m.stack.append(frozenset(map(_key, m.marked()))),
    "APPEND": lambda m: m.fill(m.last(1)),
    "APPENDS": lambda m: m.fill(m.marked()),
    "ADDITEMS": lambda m: m.fill(m.marked()),
    "SETITEM": lambda m: m.fill(m.last(2)),
    "SETITEMS": lambda m: m.fill(m.marked()),
    "REDUCE": lambda m: m.call(),
    "BUILD": lambda m: m.build(),
}
