"""Which processes of this host cannot be seen."""

from __future__ import annotations

import os


def hidden() -> str | None:
    """Why other users' processes cannot be seen; ``None`` if they can.

    Process 1 is always there, and every user may read its state unless /proc hides it.
    """
    if os.access("/proc/1/stat", os.R_OK):
        return None
    return "those of other users are hidden (/proc is mounted with `hidepid`)"
