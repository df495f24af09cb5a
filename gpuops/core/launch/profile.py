"""A hardware profile: the GPUs of a host, and how jobs start on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from gpuops.core.launch.validation import Section, describe_mistake, wanted
from gpuops.errors import UsageError

SHOWN = 5
SCHEMA_FILE = "profile.schema.json"

# What is wrong if a pattern does not match.
PATTERNS = {
    r"^\w[\w.+-]*$": "letters, digits and . _ + - are wanted, as in a file",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "letters, digits and _ are wanted",
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "letters, digits and _ . - are wanted",
    r"^([Gg][Pp][Uu]-[0-9A-Fa-f-]+|[0-9]+)$": "an index or a UUID (GPU-...) is wanted",
    r"^[^\x00-\x1f\x7f]*$": "one line of plain text is wanted",
    r"^[^\x00]*$": "text without NUL is wanted",
}
NAME, VARIABLE, SETTING, GPU, LINE, TEXT = PATTERNS
WISH_WORDS = "text, a finite number, true or false, or a list of them is wanted"

# Variables that a launch sets itself, and what to use instead.
DECIDED = {
    "CUDA_VISIBLE_DEVICES": "gpus.exclude leaves GPUs alone",
    "CUDA_DEVICE_ORDER": "it is PCI_BUS_ID",
    "MASTER_ADDR": "the ranks are on one machine",
    "MASTER_PORT": "torchrun.master_port sets it",
    "RANK": "torchrun sets it",
    "LOCAL_RANK": "torchrun sets it",
    "WORLD_SIZE": "gpus.count or workers sets it",
    "LOCAL_WORLD_SIZE": "gpus.count or workers sets it",
}


def _not_decided(name: str) -> str:
    if name in DECIDED or name.startswith("GPUOPS_"):
        why = DECIDED.get(name, "names that begin so are gpuops' own")
        raise ValueError(f"the launch decides it; {why}")
    return name


def _each_once(gpus: list[int | str]) -> list[int | str]:
    names = [str(gpu).lower() for gpu in gpus]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is named twice")
    return gpus


Name = Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
Line = Annotated[str, StringConstraints(pattern=LINE)]
Text = Annotated[str, StringConstraints(pattern=TEXT)]
Variable = Annotated[str, StringConstraints(pattern=VARIABLE), AfterValidator(_not_decided)]
SettingName = Annotated[str, StringConstraints(pattern=SETTING)]
Wish = Text | int | float | bool
Gpu = Annotated[int, Field(ge=0)] | Annotated[str, StringConstraints(pattern=GPU)]


class Gpus(Section):
    """The GPUs of a job."""

    count: int = Field(ge=1, le=1024, description="number of GPUs, and so of ranks")
    model: Annotated[Line, StringConstraints(min_length=1)] | None = Field(
        None,
        description="only GPUs whose name has these words, in the driver's spelling: "
        "`RTX 4090`; any GPU if left out",
    )
    memory_gib: float | None = Field(
        None, gt=0, description="only GPUs with this much memory, within a tenth"
    )
    exclude: Annotated[list[Gpu], AfterValidator(_each_once)] = Field(
        [],
        description="GPUs to leave alone: indices in PCI bus order (as in nvidia-smi), UUIDs "
        "or beginnings of UUIDs",
    )


class Torchrun(Section):
    """How torchrun is called."""

    master_port: int = Field(29501, ge=1, le=65535, description="rendezvous port of the ranks")


class Stop(Section):
    """How long each stage of stopping a job may take."""

    save_s: float = Field(60.0, gt=0, description="time to save after the first stop signal")
    terminate_s: float = Field(
        10.0, gt=0, description="time between SIGTERM to torchrun and SIGKILL"
    )


class Hang(Section):
    """When a job without progress is ended."""

    timeout_s: float | None = Field(
        None, gt=0, description="time without progress that is a hang, at any pace of the job"
    )
    observe: bool = Field(False, description="detect, diagnose and record hangs, but end nothing")


class Restart(Section):
    """How often a failed job is restarted."""

    max_restarts: int = Field(
        5, ge=0, le=1000, description="restarts within an hour without a newer checkpoint"
    )


class Limits(Section):
    """Limits at which preflight warns."""

    temperature_c: int = Field(85, ge=1, le=150, description="temperature of a GPU")
    memory_headroom: float = Field(
        0.1, ge=0, lt=1, description="share of a GPU's memory that a job should leave free"
    )


class Targets(Section):
    """How a job should use its GPUs: the monitor advises if it does not."""

    utilization_pct: int = Field(50, ge=0, le=100, description="utilisation of a GPU, at least")
    memory_least: float = Field(
        0.7, ge=0, le=1, description="share of a GPU's memory that is used, at least"
    )
    memory_most: float = Field(0.9, ge=0, le=1, description="and at most")
    temperature_c: int = Field(80, ge=1, le=150, description="temperature of a GPU, at most")

    @field_validator("memory_most")
    @classmethod
    def _above_the_least(cls, most: float, info: ValidationInfo) -> float:
        least = info.data.get("memory_least", 0)
        if most < least:
            msg = f"it must be at least targets.memory_least, {least:g}"
            raise ValueError(msg)
        return most


class Profile(Section):
    """A hardware profile. Either ``gpus`` or ``workers`` (for CPUs) sets the number of ranks."""

    name: Name = Field(description="its name in runs and messages; best the same as the file's")
    summary: Line = Field("", description="one line for lists")
    device: Literal["cuda", "cpu"] = Field(
        "cuda", description="`cuda` needs `gpus`, `cpu` needs `workers`"
    )
    gpus: Gpus | None = Field(None, description="the GPUs of a job; with device cuda")
    workers: int | None = Field(None, ge=1, le=1024, description="ranks; with device cpu")
    torchrun: Torchrun = Field(Torchrun(), description="how torchrun is called")
    environment: dict[Variable, Text] = Field(
        {}, description="variables added for every rank; values are text, so numbers in quotes"
    )
    trainers: dict[SettingName, dict[SettingName, Wish | list[Wish]]] = Field(
        {},
        description="by trainer, defaults on this hardware; the user's files and flags override "
        "them",
    )
    limits: Limits = Field(Limits(), description="limits at which preflight warns")
    targets: Targets = Field(Targets(), description="what the monitor advises by")
    hang: Hang = Field(Hang(), description="when a job without progress is ended")
    restart: Restart = Field(Restart(), description="how often a failed job is restarted")
    stop: Stop = Field(Stop(), description="how long each stage of stopping may take")

    @property
    def nproc_per_node(self) -> int:
        """How many ranks run on the host."""
        if self.device == "cpu":
            return self.workers or 1
        return self.gpus.count if self.gpus is not None else 1


def parse(document: object, source: str, *, shown: int | None = SHOWN) -> Profile:
    """Validate what a profile's file holds; every error names the dotted path of the key.

    ``shown`` is how many mistakes the sentence lists; ``None`` lists all.

    Raises:
        UsageError: the document is not a profile.
    """
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{source} is not a profile: it must be a mapping of keys to values.",
            "`gpuops profiles show cpu` prints one that works.",
        )
    try:
        profile = Profile.model_validate(dict(document))
    except ValidationError as problem:
        wrong = _sentences(problem)
        more = len(wrong[shown:]) if shown is not None else 0
        raise UsageError(
            f"{source} is not a valid profile: {'; '.join(wrong[:shown])}"
            f"{f'; and {more} more' if more else ''}.",
            (f"`gpuops profiles validate {source}` shows all. " if more else "")
            + "`gpuops profiles show cpu` prints one that works; "
            "docs/profiles.md explains the keys.",
        ) from None
    for device, needed, other, example in (
        ("cuda", "gpus", "workers", "`gpus: {count: N}`, or `device: cpu` with `workers: N`"),
        ("cpu", "workers", "gpus", "`workers: N`, or `device: cuda` with `gpus: {count: N}`"),
    ):
        if profile.device == device and getattr(profile, needed) is None:
            raise UsageError(
                f"{source} is not a valid profile: {needed} is missing (device is {device}).",
                f"Add {example}.",
            )
        if profile.device == device and getattr(profile, other) is not None:
            raise UsageError(
                f"{source} is not a valid profile: {other} has no meaning (device is {device}).",
                f"Leave it out, or write {example}.",
            )
    return profile


def schema() -> dict[str, Any]:
    """The JSON Schema of a profile: an editor that knows it completes keys and marks mistakes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(),
        "oneOf": [
            {"required": ["gpus"]},
            {"required": ["device", "workers"], "properties": {"device": {"const": "cpu"}}},
        ],
    }


def keys(section: type[BaseModel] = Profile, before: str = "") -> dict[str, str]:
    """Every key by its dotted path, with what it means."""
    found: dict[str, str] = {}
    for name, field in section.model_fields.items():
        inner = _section(section, name)
        found[f"{before}{name}"] = field.description or ""
        if inner is not None:
            found |= keys(inner, f"{before}{name}.")
    return found


def _section(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The section that stands below a key, if one does."""
    annotation = section.model_fields[name].annotation
    kinds = (annotation, *getattr(annotation, "__args__", ()))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _sentences(problem: ValidationError) -> list[str]:
    """One sentence for each place; a union says the same of each of its kinds."""
    by_path: dict[str, str] = {}
    for error in problem.errors(include_url=False):
        path = ".".join(_place(error["loc"]))
        by_path.setdefault(path, _sentence(path or "the document", error))
    return list(by_path.values())


def _place(where: tuple[int | str, ...]) -> list[str]:
    """The keys to a place as a person finds them in the file: no kinds, no value's inside."""
    depth = 3 if where[:1] in {("gpus",), ("trainers",)} else 2
    parts = [str(part)[:80] for part in where[:depth] if part != "[key]"]
    return [part if part.isprintable() else repr(part) for part in parts]


def _sentence(path: str, error: Any) -> str:
    if error["loc"][-1:] == ("[key]",):
        return f"{path} is not allowed: {_reason(error)}"
    return describe_mistake(path, error, _keys_at(error["loc"][:-1]), _reason(error))


def _reason(error: Any) -> str:
    kind, where = error["type"], error["loc"]
    if where[:2] == ("gpus", "exclude") and len(where) > 2:  # one of several kinds: name them all
        return PATTERNS[GPU]
    if where[:1] == ("trainers",) and len(where) > 3 and where[-1] != "[key]":
        return WISH_WORDS
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return PATTERNS[error["ctx"]["pattern"]]
    return wanted(error)


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] | None = Profile
    for part in path:
        section = _section(section, str(part)) if section is not None else None
    return list(section.model_fields) if section is not None else []
