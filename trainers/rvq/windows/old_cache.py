"""Pickled window caches of the older guide: shown, never trained on (numpy, no torch).

Such a cache does not say where windows begin, so it cannot be used.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Lt
from pydantic import FailFast, TypeAdapter, ValidationError

from trainers.engine.cache import CacheError
from trainers.engine.errors import format_invalid
from trainers.rvq.windows.cache_file import Count, Rate, Recipe

MEMORY_BYTES = 4 << 30
CPU_S = 20
WAIT_S = 120.0  # for the same work on a busy host


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCache(Recipe):
    """What such a cache says."""

    split: str = ""
    data_path: str = ""
    pose_fps: Rate | None = None
    total_windows: int
    window_counts: Annotated[tuple[Annotated[int, Ge(0), Lt(1 << 31)], ...], FailFast()]  # by clip
    window_params: Annotated[tuple[tuple[tuple[Count, Count], Count], ...], FailFast()]
    """Frames and stride of windows, and how many have these."""
    cumulative_windows: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that contradict each other."""
        sums = (0, *accumulate(self.window_counts))
        if self.cumulative_windows not in (None, sums):
            raise ValueError("its cumulative_windows are not the sums of its window_counts")
        params = sum(count for _, count in self.window_params)
        if not self.total_windows == params == sums[-1]:
            raise ValueError(
                f"its numbers of windows differ: {self.total_windows} total_windows, "
                f"{params} window_params, {sums[-1]} window_counts together"
            )

    @property
    def by_length(self) -> Counter[int]:
        """Windows by their frames."""
        found: Counter[int] = Counter()
        for (frames, _stride), count in self.window_params:
            found[frames] += count
        return found


_OLD_CACHE = TypeAdapter(OldCache)


def read(path: Path) -> OldCache:
    """Read a pickled cache in a process of its own, with limits, without running its code.

    Raises:
        CacheError: it wants to run code, is damaged, takes too much, or contradicts itself.
    """
    script = Path(__file__).with_name("unpickle.py")
    command = [sys.executable, "-I", "-S", str(script), str(path), str(MEMORY_BYTES), str(CPU_S)]
    why = ""
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=WAIT_S)
        if ran.returncode == 0:
            return _OLD_CACHE.validate_json(ran.stdout)
        if ran.returncode == 1:  # others: a limit's signal
            why = ran.stderr.decode(errors="replace").strip().rpartition("\n")[-1]
    except subprocess.TimeoutExpired:
        pass
    except ValidationError as error:
        why = format_invalid(error)
    shown = "".join(letter if letter.isprintable() else "?" for letter in why[:200])
    raise CacheError(
        f"{path} cannot be read as a pickled cache: {shown or 'it takes too much time or memory'}"
    )
