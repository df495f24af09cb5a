"""Summarise a pickled window cache as JSON: `python -I -S unpickle.py FILE BYTES SECONDS`.

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
from itertools import accumulate
from typing import Any

MOST = 1 << 31  # of any number in a cache
_FORMATS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d"}
_FORMATS |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


class RefusedError(Exception):
    """The file is not used; the message says why."""


class _Dtype:
    def __init__(self, name: str, *_: Any) -> None:
        if name not in _FORMATS:
            raise RefusedError(f"it holds an array of {name[:80]}")
        self.format = _FORMATS[name]

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise RefusedError("its arrays are of another byte order")


class _Array:
    def __init__(self, *_: Any) -> None:
        self.rows: Any = None

    def fill(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str = "C") -> _Array:
        shape = shape[::-1] if order == "F" else shape
        values: Any = memoryview(data)
        self.rows = values.cast(dtype.format, shape).tolist()
        if order == "F" and len(shape) > 1:
            self.rows = list(zip(*self.rows, strict=True))
        return self

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")


_STAND_INS: dict[str, Any] = {
    "_codecs.encode": lambda text, _latin1: text.encode("latin1"),  # bytes, in old protocols
    "numpy.dtype": _Dtype,
    "numpy.ndarray": None,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": lambda dtype, data: _Array().fill(data, dtype, (1,)).rows[0],
    "numpy.core.numeric._frombuffer": lambda *given: _Array().fill(*given),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = f"{module.replace('numpy._core', 'numpy.core', 1)}.{name}"
        if known not in _STAND_INS:
            raise RefusedError(f"it wants to run code ({module}.{name})"[:120])
        return _STAND_INS[known]


def summarise(found: Any) -> dict[str, Any]:
    """Return what `OldCache` holds. Raises RefusedError, or others for what is not a cache."""
    if not isinstance(found, dict):
        raise RefusedError("it is not a dictionary")
    counts = _whole_numbers(found, "window_counts")
    params = _whole_numbers(found, "window_params", least=1)
    total = int(found["total_windows"])
    try:
        by_length = Counter(frames for frames, _stride in params)
    except (TypeError, ValueError):
        raise RefusedError("its window_params are not pairs") from None
    if "cumulative_windows" in found:
        sums = _whole_numbers(found, "cumulative_windows")
        if sums != list(accumulate(counts, initial=0)):
            raise RefusedError("its cumulative_windows are not the sums of its window_counts")
    if not total == len(params) == sum(counts):
        raise RefusedError(
            f"its numbers of windows differ: {total} total_windows, {len(params)} window_params, "
            f"{sum(counts)} window_counts together"
        )
    fps = found.get("pose_fps")
    return {
        "recipe": {
            "window_size": int(found["window_size"]),
            "window_stride": int(found["window_stride"]),
            "multi_length_training": [*map(float, found.get("multi_length_training") or (1.0,))],
        },
        "split": _text(found.get("split")),
        "data": _text(found.get("data_path")),
        "fps": None if fps is None else float(fps),
        "clips": len(counts),
        "by_length": by_length,
    }


def _whole_numbers(found: dict[str, Any], name: str, least: int = 0) -> list[Any]:
    """Return a list of whole numbers, or of lists of them."""
    given = found[name]
    rows = given.rows if isinstance(given, _Array) else given
    flat: list[Any] = []
    for row in rows if isinstance(rows, (list, tuple)) else ():
        flat += row if isinstance(row, (list, tuple)) else [row]
    if not flat or not all(type(one) is int for one in flat):
        raise RefusedError(f"its {name} are not whole numbers")
    if min(flat) < least or max(flat) >= MOST:
        raise RefusedError(f"its {name} hold {min(flat)} to {max(flat)}")
    return list(rows)


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


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
            print(json.dumps(summarise(_Unpickler(file).load())))
    except RefusedError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit("it takes too much memory")
    except KeyError as error:
        sys.exit(f"it has no {error.args[0]}")
    except Exception as error:  # noqa: BLE001 - a hostile file can cause any
        sys.exit(f"it is damaged ({error})")


if __name__ == "__main__":
    main(*sys.argv[1:])
