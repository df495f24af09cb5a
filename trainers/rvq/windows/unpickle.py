"""Print a pickled window cache as JSON: `python -I -S unpickle.py FILE BYTES SECONDS`.

A pickle is a program, so `old_cache` runs this in a process of its own, with a limit on its memory
and its processor time. The names that arrays need give inert stand-ins; every other one is refused.
Only the standard library is used. A refusal is a sentence on stderr and exit code 1.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
from collections import Counter
from typing import Any

MOST = 1 << 26  # characters of the summary
NUMBERS = (
    *("window_size", "window_stride", "multi_length_training", "pose_fps"),
    *("total_windows", "window_counts", "cumulative_windows"),
)
TEXTS = ("split", "data_path")
_FORMATS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d"}
_FORMATS |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


class _Dtype:
    def __init__(self, name: str, *_: Any) -> None:
        if name not in _FORMATS:
            sys.exit(f"it holds an array of {name[:80]}")
        self.format = _FORMATS[name]

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            sys.exit("its arrays are of another byte order")


class _Array:
    rows: Any = None

    def fill(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str = "C") -> _Array:
        if order != "C":
            sys.exit("its arrays are in Fortran order")
        self.rows = memoryview(data).cast(dtype.format, shape).tolist()  # type: ignore[call-overload]
        return self

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.fill(data, dtype, shape, "F" if is_fortran else "C")


_STAND_INS: dict[str, Any] = {
    "_codecs.encode": lambda text, _latin1: text.encode("latin1"),  # bytes, in old protocols
    "numpy.dtype": _Dtype,
    "numpy.ndarray": None,
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.multiarray.scalar": lambda dtype, data: _Array().fill(data, dtype, (1,)).rows[0],
    "numpy.core.numeric._frombuffer": lambda *given: _Array().fill(*given),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = f"{module.replace('numpy._core', 'numpy.core', 1)}.{name}"
        if known not in _STAND_INS:
            sys.exit(f"it wants to run code ({module}.{name})"[:120])
        return _STAND_INS[known]


def summarise(found: Any) -> dict[str, Any]:
    """Return what `OldCache` holds, not validated: windows that are alike are counted."""
    if not isinstance(found, dict):
        sys.exit("it is not a dictionary")
    params = found.get("window_params", ())
    alike = Counter(map(tuple, params.rows if isinstance(params, _Array) else params))
    kept = {name: found[name] for name in NUMBERS if found.get(name) is not None}
    kept |= {name: found[name] for name in TEXTS if isinstance(found.get(name), str)}
    return {"multi_length_training": [1.0], **kept, "window_params": list(alike.items())}


def _limit(kind: int, amount: int) -> None:
    _soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount if hard < 0 else min(amount, hard), hard))


def main(path: str, memory_bytes: str, cpu_s: str) -> None:
    """Print the summary of a file, or exit with the reason for none."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, int(memory_bytes))
    _limit(resource.RLIMIT_CPU, int(cpu_s))
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all else
            _limit(resource.RLIMIT_NOFILE, 0)
            found = summarise(_Unpickler(file).load())
        text = json.dumps(found, default=lambda array: array.rows)
        if len(text) > MOST:
            sys.exit("it takes too much memory")
        print(text)
    except MemoryError:
        sys.exit("it takes too much memory")
    except Exception as error:  # noqa: BLE001 - a hostile file can cause any
        sys.exit(f"it is damaged ({error})")


if __name__ == "__main__":
    main(*sys.argv[1:])
