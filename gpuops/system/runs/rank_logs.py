"""The logs of an attempt's ranks."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gpuops.core.run import paths
from gpuops.system import files, owners

if TYPE_CHECKING:
    from gpuops.core.launch.plan import LaunchPlan


def link(plan: LaunchPlan) -> None:
    """Give torchrun's own log folders (``<id>_<random>/attempt_0/<rank>``) names to find.

    Nothing is written in the folder of another user, whose links may lead anywhere.
    """
    folder = Path(plan.log_dir)
    if owners.owner(folder) != os.geteuid():
        return
    for nested in folder.glob("*/attempt_0/*"):
        if nested.name.isdigit():
            with contextlib.suppress(OSError):  # on a full disk the job still matters more
                files.link(folder / f"{paths.RANK}{nested.name}", str(nested.relative_to(folder)))


def ranks(root: Path, attempt: int) -> list[int]:
    """The ranks of an attempt that have logs."""
    return files.numbered(root / paths.logs(attempt), paths.RANK)


def ranks_with_output(root: Path, attempt: int) -> list[int]:
    """The ranks of an attempt whose logs are not empty."""
    streams = ("stdout", "stderr")
    return [
        rank
        for rank in ranks(root, attempt)
        if any(files.tail(root / paths.rank_log(attempt, rank, name), 1) for name in streams)
    ]
