"""The recogniser of a run, in the run's folder: trained once for the data it reads."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.files import atomic, load_json
from trainers.signllm.metrics.recogniser import Recogniser

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS, ABOUT = "recogniser.safetensors", "recogniser.json"
VERSION = 2  # of the network and its training: another one is trained again


def save_recogniser(model: Recogniser, folder: Path, digest: str) -> None:
    """Write a recogniser of the data with this digest, if the folder can be written."""
    about = {
        "version": VERSION,
        "digest": digest,
        "units": model.units,
        "languages": list(model.languages),
        "vocabulary": list(model.vocabulary),
    }
    with suppress(OSError):
        with atomic(folder / WEIGHTS) as unfinished:
            # Not save_file, which raises no OSError.
            unfinished.write_bytes(save(model.state_dict(), metadata={"digest": digest}))
        with atomic(folder / ABOUT) as unfinished:
            unfinished.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def load_recogniser(folder: Path, digest: str) -> Recogniser | None:
    """Read the recogniser of the data with this digest; None if there is none that can be used."""
    try:
        about = load_json(folder / ABOUT)
        if (about["version"], about["digest"]) != (VERSION, digest):
            return None
        model = Recogniser(about["units"], about["vocabulary"], about["languages"])
        with safe_open(folder / WEIGHTS, "pt") as file:
            if file.metadata().get("digest") != digest:
                return None  # of a writer that was killed between the two files
            with torch.no_grad():
                model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (TrainerError, SafetensorError, OSError, RuntimeError, *MALFORMED):
        return None
    return model.eval()
