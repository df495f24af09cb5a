"""What gpuops knows about a trainer: its manifest, a value read from text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from gpuops.errors import UsageError

Subject = Literal["run", "data", "settings", "nothing"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Answers(_Section):
    """The modules that gpuops asks, each in the interpreter that trains.

    All but ``estimate`` must work without torch. ``config``, ``check``, ``estimate`` and ``count``
    get the flags of a training and print JSON: the settings, findings, the memory of a step, and
    the samples of the data set. ``check_data`` gets the folder of a data set and reads all of it.
    """

    config: str
    check: str | None = None
    estimate: str | None = None
    count: str | None = None
    check_data: str | None = None


class Verb(_Section):
    """Something that people do with a trainer beside training: a command of gpuops.

    ``of`` says what the first word names: a run, a data set, or nothing that gpuops knows. With
    ``settings`` there is no such word, only flags of a training.
    """

    module: str
    of: Annotated[
        tuple[Subject, ...],
        BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
        Field(min_length=1),
    ]
    does: str


class DataLayout(_Section):
    """Files as gpuops can count them itself: ``<root>/<split folder>/<sample>/<sample file>``.

    ``splits`` maps a split to the folder names it may have; ``sample_files`` are the files that
    each sample must have.
    """

    splits: dict[str, list[str]]
    sample_files: list[str]


class DataSet(_Section):
    """The data set of a trainer.

    ``setting`` is the trainer's setting that holds the root; ``built_in`` lists the values of it
    that need no files. ``about`` shows in a line how the files lie. Without a ``layout`` the
    trainer counts its samples itself (``answers.count``).
    """

    setting: str
    about: str
    built_in: list[str] = []
    layout: DataLayout | None = None


class Batch(_Section):
    """The settings that say how large a step's batch is, by name.

    ``size`` holds the samples of a rank and pass, ``accumulate`` the passes of a step, ``total``
    the samples of a step over all ranks, if that is what the user gives. ``fill``, if it is set,
    replaces ``size``: a pass takes as many samples as make up this much.
    """

    size: str
    accumulate: str
    total: str
    fill: str | None = None


class Manifest(_Section):
    """A trainer as data: its modules by what they are for, and what to check before a launch.

    ``train`` is the module for ``torchrun -m``. ``answers`` are asked by gpuops, ``verbs`` are
    typed by people; ``importers`` and ``synthetic`` make data sets.
    """

    name: str
    summary: str
    train: str
    answers: Answers
    verbs: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")], Verb] = {}
    data: DataSet | None = None
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

    @field_validator("data")
    @classmethod
    def _is_counted_in_one_way(cls, data: DataSet | None, info: ValidationInfo) -> DataSet | None:
        answers = info.data.get("answers")
        if data is not None and answers is not None:
            by_module, by_layout = answers.count is not None, data.layout is not None
            if by_module == by_layout:
                raise ValueError("it needs either a layout or answers.count")
        return data

    def has_to_check(self, settings: Mapping[str, object]) -> bool:
        """Whether the trainer's own check is useful: with data in files, or something to resume."""
        if self.answers.check is None:
            return False
        if settings.get(self.resume_setting) not in (None, "none", False):
            return True
        data = self.data
        return data is not None and settings.get(data.setting) not in (None, *data.built_in)


def flag(setting: str) -> str:
    """How a setting is spelled on a command line."""
    return "--" + setting.replace("_", "-")


def parse(document: object, source: str) -> Manifest:
    """Validate a manifest.

    Raises:
        UsageError: the document is not a manifest; the sentence names the dotted path.
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
            "docs/trainers.md describes every key; trainers/rvq/trainer.yaml is an example.",
        ) from None
