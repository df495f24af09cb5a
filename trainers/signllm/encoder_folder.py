"""The folder of a pretrained text encoder: there, or a sentence on how to bring it (no torch)."""

from __future__ import annotations

from pathlib import Path

from trainers.engine.errors import TrainerError

BYTES = "bytes"
"""The encoder that needs no folder."""


def encoder_folder(name: str) -> Path:
    """Return the folder that a text encoder is loaded from. Nothing is ever downloaded.

    Raises:
        TrainerError: there is no such folder.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise TrainerError(
            f"there is no folder {name} with a text encoder, and none is downloaded",
            f"bring it once, on a machine with network: `hf download {folder.name} "
            f"--local-dir {folder.name}`; or give --text-encoder bytes",
        )
    return folder
