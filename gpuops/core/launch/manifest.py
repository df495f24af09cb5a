"""What gpuops knows about a trainer: its manifest, a value read from text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from gpuops.core.launch.validation import describe_first
from gpuops.errors import UsageError

Subject = Literal["run", "data", "settings", "nothing"]
# On a line, without control characters: a terminal must not obey it.
Text = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\P{C}*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Answers(_Section):
    """The modules that gpuops asks, each in the interpreter that trains.

    All but ``estimate`` must work without torch. ``config``, ``check``, ``estimate`` and ``count``
    get the flags of a training and print JSON: the settings, findings, the memory of a step, and
    the samples of the data set. ``check_data`` gets the folder of a data set and reads all of it.
    """

    config: Text
    check: Text | None = None
    estimate: Text | None = None
    count: Text | None = None
    check_data: Text | None = None


class Verb(_Section):
    """What users do with a trainer beside training: a command of gpuops.

    ``of`` says what the first word names: a run, a data set, or nothing that gpuops knows. With
    ``settings`` there is no such word, only flags of a training.
    """

    module: Text
    of: Annotated[
        tuple[Subject, ...],
        BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
        Field(min_length=1),
    ]
    does: Text


class DataLayout(_Section):
    """Files as gpuops can count them itself: ``<root>/<split folder>/<sample>/<sample file>``.

    ``splits`` maps a split to the folder names it may have; ``sample_files`` are the files that
    each sample must have.
    """

    splits: dict[Text, list[Text]]
    sample_files: list[Text]


class DataSet(_Section):
    """The data set of a trainer.

    ``setting`` is the trainer's setting that holds the root; ``built_in`` lists the values of it
    that need no files. ``about`` shows in a line how the files lie. Without a ``layout`` the
    trainer counts its samples itself (``answers.count``), and ``found_by`` are paths below the
    root, with ``*``, by one of which a folder is told to be such a data set.
    """

    setting: Text
    about: Text
    built_in: list[Text] = []
    layout: DataLayout | None = None
    found_by: list[Text] = []


class Batch(_Section):
    """The settings that say how large a step's batch is, by name.

    ``size`` holds the samples of a rank and pass, ``accumulate`` the passes of a step, ``total``
    the samples of a step over all ranks, if that is what the user gives. ``fill``, if it is set,
    replaces ``size``: a pass takes as many samples as make up this much.
    """

    size: Text
    accumulate: Text
    total: Text
    fill: Text | None = None


class Manifest(_Section):
    """A trainer as data: its modules by what they are for, and what to check before a launch.

    ``train`` is the module for ``torchrun -m``. ``answers`` are asked by gpuops, ``verbs`` are
    typed by people; ``importers`` and ``synthetic`` make data sets.
    """

    name: Text
    summary: Text
    train: Text
    answers: Answers
    verbs: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")], Verb] = {}
    data: DataSet | None = None
    batch: Batch | None = None
    importers: dict[Text, Text] = {}
    synthetic: Text | None = None
    out_dir_setting: Text = "out_dir"
    resume_setting: Text = "resume"
    config_setting: Text = "config"
    metrics_file: Text = "metrics.jsonl"
    checkpoints: Text = "checkpoints"
    memory_per_worker_gib: Annotated[float, Field(gt=0)] = 1.0
    disk_gib: Annotated[float, Field(ge=0)] = 1.0

    @field_validator("data")
    @classmethod
    def _is_counted_in_one_way(cls, data: DataSet | None, info: ValidationInfo) -> DataSet | None:
        answers = info.data.get("answers")
        if data and answers and (answers.count is None) == (data.layout is None):
            raise ValueError("it needs either a layout or answers.count")
        return data

    def unknown_setting(self, settings: Mapping[str, object]) -> str | None:
        """A sentence on the first setting of ``data`` or ``batch`` that ``settings`` lack, if any.

        Without it the data set would not be counted, or the batch not be kept, without a message.
        """
        named = {"data.setting": self.data.setting} if self.data else {}
        batch = self.batch.model_dump(exclude_none=True) if self.batch else {}
        named |= {f"batch.{key}": name for key, name in batch.items()}
        for key, name in named.items():
            if name not in settings:
                bare = name.rpartition(".")[2]
                tail = f"; {bare} is one, without its section" if bare in settings else ""
                return f"{key}: {name} is not a setting that {self.answers.config} prints{tail}."
        return None

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
        raise UsageError(
            f"{source} is not a valid trainer manifest: {describe_first(problem)}.",
            "docs/trainers.md describes every key; trainers/rvq/trainer.yaml is an example.",
        ) from None
