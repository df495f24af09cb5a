"""Pickled window caches of the older guide: shown, never trained on (numpy, no torch).

A dictionary of `window_counts` and `cumulative_windows` by clip, `window_params` (frames, stride)
by window, and the parameters. It does not say where windows begin, so it cannot be used.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trainers.engine.cache import CacheError
from trainers.rvq.windows.cache_file import Count, Rate, Recipe

MEMORY_BYTES = 4 << 30
CPU_S = 20
WAIT_S = 120.0  # for the same work on a busy host


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCache:
    """What such a cache says."""

    recipe: Recipe
    split: str
    data: str
    fps: Rate | None
    clips: Count
    by_length: dict[int, int]
    """Windows by their frames."""


_OLD_CACHE = TypeAdapter(OldCache)


def read(path: Path) -> OldCache:
    """Read a pickled cache in a process of its own, with limits, without running its code.

    Raises:
        CacheError: it wants to run code, is damaged, takes too much, or contradicts itself.
    """
    script = Path(__file__).with_name("unpickle.py")
    command = [sys.executable, "-I", "-S", str(script), str(path), str(MEMORY_BYTES), str(CPU_S)]
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=WAIT_S)
        if ran.returncode == 0:
            return _OLD_CACHE.validate_json(ran.stdout)
        lines = ran.stderr.decode(errors="replace").splitlines()
        why = lines[-1] if ran.returncode == 1 and lines else ""  # others: a limit's signal
    except subprocess.TimeoutExpired:
        why = ""
    except ValidationError as error:
        wrong = error.errors()[0]
        why = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
    shown = "".join(letter if letter.isprintable() else "?" for letter in why[:200])
    raise CacheError(
        f"{path} cannot be read as a pickled cache: {shown or 'it takes too much time or memory'}"
    )
