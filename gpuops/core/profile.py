"""A hardware profile: what a box has, and how jobs are started on it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gpuops.core.plan import Setting
from gpuops.errors import UsageError

SHOWN = 5

VariableValue = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Gpus(_Section):
    """The cards that a job takes."""

    count: Annotated[int, Field(ge=1, le=1024)]
    model: str | None = None
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    exclude: list[Annotated[int, Field(ge=0)] | str] = []


class Torchrun(_Section):
    """How torchrun is called."""

    master_port: Annotated[int, Field(ge=1, le=65535)] = 29501


class Stop(_Section):
    """How long a job that was asked to stop may take for each rung of the ladder."""

    save_s: Annotated[float, Field(gt=0)] = 60.0
    terminate_s: Annotated[float, Field(gt=0)] = 10.0


class Limits(_Section):
    """Where preflight begins to warn."""

    temperature_c: Annotated[int, Field(ge=1, le=150)] = 85
    memory_headroom: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Profile(_Section):
    """A hardware profile. Either ``gpus`` or ``workers`` (a CPU box) says how many ranks run."""

    name: Annotated[str, StringConstraints(min_length=1)]
    summary: str = ""
    device: Literal["cuda", "cpu"] = "cuda"
    gpus: Gpus | None = None
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    torchrun: Torchrun = Torchrun()
    environment: dict[VariableName, VariableValue] = {}
    trainers: dict[str, dict[str, Setting]] = {}
    limits: Limits = Limits()
    stop: Stop = Stop()

    @property
    def nproc_per_node(self) -> int:
        """How many ranks run on the box."""
        if self.device == "cpu":
            return self.workers or 1
        return self.gpus.count if self.gpus is not None else 1


def parse(document: object, source: str) -> Profile:
    """Validate what a profile's file holds; every error names the dotted path of the key.

    Raises:
        UsageError: the document is no profile.
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
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UsageError(
            f"{source} is not a valid profile: {'; '.join(wrong[:SHOWN])}{more}.",
            "`gpuops profiles show cpu` prints one that works; docs/profiles.md explains the keys.",
        ) from None
    if profile.device == "cuda" and profile.gpus is None:
        raise UsageError(
            f"{source} is not a valid profile: gpus is missing (device is cuda).",
            "Add `gpus: {count: N}`, or `device: cpu` with `workers: N`.",
        )
    if profile.device == "cpu" and profile.workers is None:
        raise UsageError(
            f"{source} is not a valid profile: workers is missing (device is cpu).",
            "Add `workers: N`.",
        )
    return profile


def _sentences(problem: ValidationError) -> list[str]:
    """One sentence for each place; a union says the same of each of its kinds."""
    by_path: dict[str, str] = {}
    for error in problem.errors(include_url=False):
        parts = [str(part) for part in error["loc"] if not _names_a_type(part)]
        if parts[:1] == ["trainers"]:  # a value's inside is of no help
            parts = parts[:3]
        path = ".".join(part if part.isprintable() else repr(part) for part in parts)
        by_path.setdefault(path, _sentence(path or "the document", error))
    return list(by_path.values())


def _names_a_type(part: int | str) -> bool:
    return part in {"int", "str", "float", "bool", "constrained-int", "[key]"} or (
        isinstance(part, str) and part.startswith("list[")
    )


def _sentence(path: str, error: Any) -> str:
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), _keys_at(error["loc"][:-1]), n=1)
        return f"{path} is not a key" + (f" (the nearest is {near[0]})" if near else "")
    if error["type"] == "missing":
        return f"{path} is missing"
    reason = error["msg"][0].lower() + error["msg"][1:]
    return f"{path} is {error['input']!r:.60}: {reason}"


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    sections: dict[tuple[int | str, ...], type[BaseModel]] = {
        (): Profile,
        ("gpus",): Gpus,
        ("torchrun",): Torchrun,
        ("limits",): Limits,
        ("stop",): Stop,
    }
    return list(sections[path].model_fields) if path in sections else []
