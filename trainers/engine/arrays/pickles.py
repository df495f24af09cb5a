"""Pickles read as data: numbers, text, lists, dictionaries and arrays. No code of theirs is run.

A pickle is a program. Two readings make it harmless: ``pickletools`` compares every length with
what is there and refuses all instructions that are not listed here; then Python's own unpickler
follows the others, and finds inert stand-ins of ours under the few names that arrays need.

It is the unpickler in Python, because the one in C makes room for any memo that a file asks for.
Tuples come as lists: a tuple of shared tuples can take years to be hashed, a list is no key. Parts
may be shared, so a walk through containers in containers may never come to an end. Torch-free.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MOST = 1 << 30  # bytes of a file
_DTYPE = re.compile(r"[<>|=]?[biuf][1248]")
_LONGEST = 80  # letters of a name
_AXES = 32


class PickleError(Exception):
    """A pickle cannot be read as data; the words say why."""


def read(path: Path) -> Any:
    """The value in a pickle, with lists for tuples and `Array` for arrays. Raises PickleError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST + 1)
    except OSError as error:
        raise PickleError(str(error.strerror)) from None
    if len(data) > MOST:
        raise PickleError(f"it is larger than {MOST >> 30} GiB")
    try:
        return _parsed(data)
    except PickleError:
        raise
    except Exception as error:  # noqa: BLE001 - a hostile file can bring about any of them
        why = (str(error).splitlines() or [""])[0]
        raise PickleError(f"it is damaged ({why})" if why else "it is damaged") from None


def _parsed(data: bytes) -> Any:
    for opcode, _, _ in pickletools.genops(data):
        if ord(opcode.code) not in _Unpickler.dispatch:
            raise PickleError(f"it wants to run code ({opcode.name})")
    return _Unpickler(data).load()


class Array:
    """The stand-in of an array: empty until its values are set."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.empty(0, np.int8)

    def set(self, data: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
        """Take the values from bytes, which are not copied. Raises PickleError."""
        if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
            raise PickleError("its arrays are damaged")
        if not (isinstance(shape, list) and len(shape) <= _AXES and all(map(_is_size, shape))):
            raise PickleError("an array has a shape that no array has")
        wanted = dtype.found.itemsize * math.prod(shape)
        if wanted != len(data):
            raise PickleError(f"an array of {wanted:,} bytes has {len(data):,}")
        self.values = np.ndarray(shape, dtype.found, data, order="F" if order == "F" else "C")
        return self

    def build(self, state: Any) -> None:
        """Take the values from an array's state."""
        _, shape, dtype, fortran, data = state
        self.set(data, dtype, shape, "F" if fortran else "C")


class _Dtype:
    """The stand-in of a type of numbers; there are no others."""

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            kind = _shown(name) if isinstance(name, str) else "an unknown type"
            raise PickleError(f"it holds an array of {kind}")
        self.found = np.dtype(name)

    def build(self, state: Any) -> None:
        """Refuse numbers that would have to be turned round."""
        if state[1] not in ("<", "|", "="):
            raise PickleError("its arrays are of another byte order")


def _scalar(dtype: Any, data: Any) -> Any:
    return Array().set(data, dtype, []).values.item()


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63


def _shown(name: str) -> str:
    """A name without anything that a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST])


def _codes(*names: str) -> list[int]:
    return [getattr(pickle, name)[0] for name in names]


_STEPS = pickle._Unpickler.dispatch  # noqa: SLF001 - the one in Python, see above
_PLAIN = _codes(
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("NONE", "NEWTRUE", "NEWFALSE", "FLOAT", "BINFLOAT"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE"),  # of nothing but what find_class gives
)


class _Unpickler(pickle._Unpickler):  # noqa: SLF001 - as above
    stack: list[Any]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.left = len(data)

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name. Raises PickleError for all but a few names."""
        package = module.replace("numpy._core", "numpy.core", 1)
        stand_ins: dict[str, Any] = {
            "_codecs.encode": self.encode,
            "numpy.dtype": _Dtype,
            "numpy.ndarray": None,
            "numpy.core.multiarray._reconstruct": Array,
            "numpy.core.multiarray.scalar": _scalar,
            "numpy.core.numeric._frombuffer": lambda *given: Array().set(*given),
        }
        if f"{package}.{name}" not in stand_ins:
            raise PickleError(f"it wants to run code ({_shown(f'{module}.{name}')})")
        return stand_ins[f"{package}.{name}"]

    def encode(self, text: Any, encoding: Any) -> bytes:
        """Bytes, as old pickles write them; not one text's again and again."""
        self.left -= len(text)
        if encoding != "latin1" or not isinstance(text, str) or self.left < 0:
            raise PickleError("it holds damaged bytes")
        return text.encode("latin1")

    def load_build(self) -> None:
        """Give a stand-in its state; an attribute of anything else is never set."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (Array, _Dtype)):
            raise PickleError("it wants to run code (BUILD)")
        self.stack[-1].build(state)

    def gather(self, count: int) -> None:
        """Put the last values into a list."""
        self.stack.append([self.stack.pop() for _ in range(count)][::-1])

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{code: _STEPS[code] for code in _PLAIN},
        pickle.EMPTY_TUPLE[0]: _STEPS[pickle.EMPTY_LIST[0]],
        pickle.TUPLE1[0]: lambda self: self.gather(1),
        pickle.TUPLE2[0]: lambda self: self.gather(2),
        pickle.TUPLE3[0]: lambda self: self.gather(3),
        pickle.TUPLE[0]: _STEPS[pickle.LIST[0]],
        pickle.BUILD[0]: load_build,
    }
