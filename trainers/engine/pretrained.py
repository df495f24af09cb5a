"""The folder of a pretrained model: there, or a sentence on how to bring it (no torch)."""

from __future__ import annotations

from pathlib import Path

from trainers.engine.errors import TrainerError


def pretrained_folder(name: str, what: str, otherwise: str) -> Path:
    """Return the folder that a model such as a "text encoder" is loaded from.

    Nothing is ever downloaded. ``otherwise`` are the flags that do without it.

    Raises:
        TrainerError: there is no such folder.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise TrainerError(
            f"there is no folder {name} with a {what}, and none is downloaded",
            f"bring it once, on a machine with network: `hf download {folder.name} "
            f"--local-dir {folder.name}`; or give {otherwise}",
        )
    return folder
