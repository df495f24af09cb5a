"""What gpuops knows of a trainer: its manifest, a value read from text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpuops.errors import UsageError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class DataLayout(_Section):
    """How a data set lies on disk: ``<root>/<split folder>/<sample>/<marker>``.

    ``setting`` is the trainer's setting that holds the root; ``built_in`` lists the values of it
    that need no files. ``splits`` maps a split to the folder names it may have.
    """

    setting: str
    built_in: list[str] = []
    splits: dict[str, list[str]]
    sample_files: list[str]
    about: str = ""


class Batch(_Section):
    """The settings that say how large a step's batch is, by name.

    ``size`` holds the samples of a rank and pass, ``accumulate`` the passes of a step, ``total``
    the samples of a step over all ranks, where that is what is given.
    """

    size: str
    accumulate: str
    total: str


class Manifest(_Section):
    """A trainer as data: which modules to run, and what to check before.

    ``train`` is the module for ``torchrun -m``; ``config`` the module that resolves settings
    (prints them as JSON, needs no torch); ``check`` one that looks at what these settings mean on
    disk (prints findings as JSON, likewise); ``verbs`` maps other things it can do to modules.
    """

    name: str
    summary: str
    train: str
    config: str
    check: str | None = None
    verbs: dict[str, str] = {}
    data: DataLayout | None = None
    batch: Batch | None = None
    importers: dict[str, str] = {}
    synthetic: str | None = None
    out_dir_setting: str = "out_dir"
    resume_setting: str = "resume"
    config_setting: str = "config"
    metrics_file: str = "metrics.jsonl"
    checkpoints: str = "checkpoints"
    memory_per_worker_gib: Annotated[float, Field(gt=0)] = 1.0
    disk_gib: Annotated[float, Field(ge=0)] = 1.0

    def worth_checking(self, settings: Mapping[str, object]) -> bool:
        """Whether its own check has anything to look at: data in files, or something to resume."""
        if self.check is None:
            return False
        if settings.get(self.resume_setting) not in (None, "none", False):
            return True
        data = self.data
        return data is not None and settings.get(data.setting) not in (None, *data.built_in)


def parse(document: object, source: str) -> Manifest:
    """Validate a manifest.

    Raises:
        UsageError: the document is no manifest; the sentence names the dotted path.
    """
    if not isinstance(document, Mapping):
        raise UsageError(f"{source} is not a trainer manifest: it must be a mapping of keys.")
    try:
        return Manifest.model_validate(dict(document))
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{source} is not a valid trainer manifest: {path}: {first['msg'].lower()}.",
            "trainers/rvq/trainer.yaml is one that works.",
        ) from None
