"""Which posters are validated on, if no folder says it: a hash of each one's name decides."""

from __future__ import annotations

import hashlib
import os


def is_validation(name: str, share: float) -> bool:
    """Whether a poster is among the ``share`` of all that are validated on.

    The name alone decides: other posters, their order, machine and seed change nothing.
    """
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
