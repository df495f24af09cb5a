"""A trainer's own check of what its settings mean on disk, before any rank starts. Torch-free.

``python -m trainers.NAME.check FLAGS`` takes the flags of a training and prints a JSON list of
findings. Whatever is wrong is a finding; it reads what is cheap to read, and changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from trainers.engine.checkpoint import files
from trainers.engine.config.config import resolve
from trainers.engine.errors import TrainerError, run_main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trainers.engine.config.sections import RunConfig
    from trainers.engine.config.translate import Translate

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One checked fact: a sentence, and what to do if it is not as it should be."""

    check: str
    severity: Literal["ok", "warning", "error"]
    summary: str
    hint: str = ""
    forcible: bool = True


def main(
    cls: type[T],
    check: Callable[[T], Sequence[Finding]],
    *,
    name: str,
    presets: Path | None = None,
    translate: Translate | None = None,
) -> None:
    """Print what ``check`` finds for the settings on the command line, and exit."""

    def show(argv: Sequence[str]) -> None:
        config = resolve(cls, argv, name=name, presets=presets, translate=translate)
        print(json.dumps([asdict(finding) for finding in check(config)], indent=2))

    run_main(show)


def refused(check: str, error: TrainerError) -> Finding:
    """What training would stop at, which no flag can override."""
    return Finding(
        check=check, severity="error", summary=error.message, hint=error.hint, forcible=False
    )


def checkpoint(run: RunConfig) -> list[Finding]:
    """What the run will go on from: which checkpoint, and which ones are passed over as broken."""
    try:
        path, broken = files.choose(run.resume, run.folder / "checkpoints")
    except TrainerError as error:
        return [refused("checkpoint", error)]
    if path is None:
        return []
    if not broken:
        return [Finding(check="checkpoint", severity="ok", summary=f"{path} is whole")]
    passed_over = f"passed over: {files.describe_broken(broken)}"
    summary = f"it goes on from {path}, which is whole; {passed_over}"
    hint = "What was trained after that checkpoint is trained again."
    return [Finding(check="checkpoint", severity="warning", summary=summary, hint=hint)]
