"""Config files of another program's schema, as settings of ours. Torch-free.

A trainer that takes such files gives ``resolve`` a function, most simply one over ``rename``::

    TABLE = {
        "training.num_epochs": "loop.epochs",
        "data.batch_size": "loop.global_batch",
        "optimizer.min_lr": lambda value: {"optim.min_lr_ratio": value / 4e-4},
        "use_multi_gpu": Unused("all GPUs that it is launched on are used"),
    }

    def translate(values: Mapping[str, Any], origin: str) -> Translation:
        return rename(values, TABLE, origin)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Unused:
    """A key that means nothing here, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Translation:
    """Settings of ours by path, and a sentence on each key that was another's."""

    values: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Target: TypeAlias = str | Unused | Callable[[Any], Mapping[str, Any]]
"""A setting's path, or what gives settings by path for a value, or why the key is not used."""
Translate: TypeAlias = Callable[[Mapping[str, Any], str], Translation]


def rename(values: Mapping[str, Any], table: Mapping[str, Target], origin: str) -> Translation:
    """Translate the dotted keys that are in ``table``; all others pass, for ours to take or refuse.

    So a file may be of either schema, or of both. ``origin`` names it in notes and errors.

    Raises:
        ConfigError: two keys mean the same setting, and differ.
    """
    ours: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in _leaves(values, table):
        target = table.get(key, key)
        if isinstance(target, Unused):
            notes.append(f"{origin}: {key} is not used: {target.reason}")
            continue
        found = {target: value} if isinstance(target, str) else dict(target(value))
        twice = {path for path in found.keys() & ours.keys() if found[path] != ours[path]}
        if twice:
            raise ConfigError(f"{key} in {origin} gives {min(twice)}, which another key gives too")
        ours |= found
        if key in table:
            becomes = ", ".join(f"{path} {new}" for path, new in found.items())
            meaning = f"is {becomes}" if found else "is so here anyway"
            notes.append(f"{origin}: {key} {value} {meaning}")
    return Translation(ours, tuple(notes))


def _leaves(
    values: Mapping[str, Any], table: Mapping[str, Target], under: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{under}{name}"
        if isinstance(value, Mapping) and key not in table:
            yield from _leaves(value, table, f"{key}.")
        else:
            yield key, value
