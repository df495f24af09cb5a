"""The heartbeats of an attempt, as far as they are believed."""

from __future__ import annotations

from pathlib import Path

from gpuops import heartbeat
from gpuops.heartbeat import Beat
from gpuops.system import owners


def read(folder: Path) -> list[Beat]:
    """The newest beat of every rank, by rank, from an attempt's folder of beats in a run's folder.

    Another user may write to the folder: a file of theirs could hide a hang, or fake one.
    """
    return heartbeat.read_all(folder, owners.believed(folder.parents[2]))
