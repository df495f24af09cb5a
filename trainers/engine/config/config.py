"""A trainer's config: frozen dataclasses, filled from a preset, a file and the command line.

A config class holds sections, each a frozen dataclass of settings, or plain settings::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Config:
        loop: LoopConfig = LoopConfig(total_iter=600)
        optim: OptimConfig = OptimConfig()

    config = resolve(Config, argv, name="toy", presets=Path(__file__).parent / "presets")

Later wins: defaults, ``--preset NAME``, ``--defaults KEY=VALUE ...`` (what a launcher wishes),
``--config FILE``, ``--debug`` (the preset of that name), flags. A file takes the place of a preset
that only a launcher wished for: what the file leaves out is the trainer's default. This module
never loads torch.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from trainers.engine.config import files as config_files
from trainers.engine.config import flags as config_flags
from trainers.engine.config.fields import Given, Setting, find, nearest, setting, settings_of
from trainers.engine.errors import ConfigError, run_main
from trainers.engine.files import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.engine.config.translate import Translate, Translation

__all__ = ["ConfigError", "dump", "from_dict", "main", "resolve", "setting", "to_dict"]

T = TypeVar("T")


def resolve(
    cls: type[T],
    argv: Sequence[str],
    *,
    name: str,
    presets: Path | None = None,
    translate: Translate | None = None,
) -> T:
    """Return the config that a command line of the trainer ``name`` stands for.

    ``translate`` is given the mapping of each ``--config`` file first: see ``translate``. What it
    did is written to stderr by rank 0. ``--help`` prints all settings and exits.

    Raises:
        ConfigError: one sentence for whatever is unknown, of the wrong type or unreadable.
    """
    settings = settings_of(cls)
    flags = config_flags.parse(argv, settings, name)
    if flags.wants_help:
        print(help_text(settings, name, presets))
        raise SystemExit(0)
    files = [(path, config_files.read(Path(path))) for path in flags.configs]
    if translate is not None:
        files = [(path, _translated(translate(values, path))) for path, values in files]
    in_files = [values.pop("preset") for _, values in files if "preset" in values]
    weak = flags.weak or config_flags.Flags()
    preset = flags.preset or next(reversed(in_files), None if files else weak.preset)
    given: dict[str, Given] = {}
    if preset is not None:
        given |= _from_preset(str(preset), presets, settings, name)
    given |= weak.values
    for file, values in files:
        given |= _flatten(values, settings, name, file)
    if flags.debug:
        given |= _from_preset("debug", presets, settings, name)
    return _build(cls, settings, given | flags.values)


def _translated(done: Translation) -> dict[str, Any]:
    if os.environ.get("RANK", "0") == "0":
        for note in done.notes:
            print(note, file=sys.stderr)
    return done.values


def from_dict(cls: type[T], values: Mapping[str, Any], *, name: str, origin: str) -> T:
    """Return the config that ``to_dict`` turned into ``values``; ``origin`` names it in errors.

    Raises:
        ConfigError: the values are not those of a config of ``cls``.
    """
    settings = settings_of(cls)
    return _build(cls, settings, _flatten(values, settings, name, origin))


def to_dict(config: Any) -> dict[str, Any]:
    """Return the config as plain values by section, which JSON and YAML can hold."""
    return {
        one.name: to_dict(value) if is_dataclass(value) else _plain(value)
        for one in fields(config)
        for value in [getattr(config, one.name)]
    }


def dump(values: Mapping[str, Any], path: Path) -> None:
    """Write ``to_dict``'s values as YAML that ``--config`` reads back; whole or not at all."""
    import yaml  # noqa: PLC0415 - only the run that writes it pays for it

    with atomic(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def main(
    cls: type, *, name: str, presets: Path | None = None, translate: Translate | None = None
) -> None:
    """``python -m trainers.NAME.config FLAGS``: print the resolved config as JSON and exit."""

    def show(argv: Sequence[str]) -> None:
        config: Any = resolve(cls, argv, name=name, presets=presets, translate=translate)
        print(json.dumps(to_dict(config), indent=2))

    run_main(show)


def help_text(settings: list[Setting], name: str, presets: Path | None) -> str:
    """List every setting with its meaning and default, by section."""
    lines = [
        f"Settings of {name}. Later wins: defaults, --preset, --config, flags.",
        "",
        "  --config FILE    settings from a YAML or JSON file; `preset: NAME` in it builds on one",
        f"  --preset NAME    {', '.join(_presets(presets)) or 'none are shipped'}",
    ]
    if "debug" in _presets(presets):
        lines.append("  --debug          the preset debug, laid over presets and files")
    section = None
    width = max(len(one.leaf) for one in settings) + 4
    for one in settings:
        if one.section != section:
            section = one.section
            lines += ["", f"{section or 'general'}:"]
        flag = "--" + one.leaf.replace("_", "-")
        default = _shown(one.default)
        lines.append(f"  {flag:<{width}}{one.help} [{default}]".rstrip())
        if one.wanted.startswith("one of"):
            lines[-1] += f" ({one.wanted})"
    return "\n".join(lines)


def _from_preset(
    preset: str, presets: Path | None, settings: list[Setting], name: str
) -> dict[str, Given]:
    names = _presets(presets)
    if presets is None or preset not in names:
        there = ", ".join(names) or "none"
        raise ConfigError(f"{preset} is not a preset of {name}; there are: {there}")
    path = presets / f"{preset}.yaml"
    return _flatten(config_files.read(path), settings, name, str(path))


def _flatten(
    values: Mapping[str, Any], settings: list[Setting], name: str, origin: str, section: str = ""
) -> dict[str, Given]:
    """Turn keys given bare, dotted or by section into settings by path."""
    sections = {one.section for one in settings if one.section}
    flat: dict[str, Given] = {}
    for key, value in values.items():
        if not section and key in sections:
            if not isinstance(value, dict):
                raise ConfigError(f"{key} in {origin} is a section: settings are wanted below it")
            inner = _flatten(value, settings, name, origin, section=key)
        else:
            dotted = f"{section}.{key}" if section else key
            one = find(settings, dotted)
            if one is None:
                close = nearest(settings, dotted) or nearest(settings, key)
                tail = f"; the nearest is {close}" if close else ""
                raise ConfigError(f"{dotted} in {origin} is not a setting of {name}{tail}")
            inner = {one.path: Given(value, origin)}
        twice = flat.keys() & inner.keys()
        if twice:
            raise ConfigError(f"{min(twice)} is given twice in {origin}")
        flat |= inner
    return flat


def _build(cls: type[T], settings: list[Setting], given: Mapping[str, Given]) -> T:
    raw = {
        one.path: _normal(one, given[one.path]) if one.path in given else one.default
        for one in settings
    }
    values = _validated(settings, raw, given)
    sections: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for one in settings:
        holder = sections.setdefault(one.section, {}) if one.section else top
        holder[one.leaf] = values[one.path]
    kinds = get_type_hints(cls)
    top |= {section: kinds[section](**inner) for section, inner in sections.items()}
    return cls(**top)


def _normal(one: Setting, given: Given) -> Any:
    """Normalise all spellings of switches and of none, before pydantic checks the type."""
    value = given.value
    if one.switch is not None and (isinstance(value, bool) or value is None):
        return one.switch[0] if value else one.switch[1]
    if one.optional and isinstance(value, str) and value.lower() in ("none", "null"):
        return None
    if isinstance(value, bool) and one.kind is not bool:
        raise _refusal(one, given, f"{one.wanted} is wanted")
    return value


def _validated(
    settings: list[Setting], raw: Mapping[str, Any], given: Mapping[str, Given]
) -> dict[str, Any]:
    # Both only here: what asks for --help, or imports a section, need not wait for pydantic.
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # noqa: PLC0415
    from typing_extensions import TypedDict  # noqa: PLC0415

    fields_by_path = {one.path: one.annotation for one in settings}
    types = TypedDict("types", fields_by_path)  # type: ignore[misc]
    types.__pydantic_config__ = ConfigDict(  # type: ignore[attr-defined]
        allow_inf_nan=False, coerce_numbers_to_str=True
    )
    try:
        return dict(TypeAdapter(types).validate_python(raw))
    except ValidationError as error:
        first = error.errors()[0]
        one = next(s for s in settings if s.path == first["loc"][0])
        bound = first["type"].startswith(("greater", "less"))
        more = first["msg"].removeprefix("Input should be ")
        wanted = f"{one.wanted}, {more}," if bound else one.wanted
        where = given.get(one.path, Given(raw[one.path], "default"))
        raise _refusal(one, where, f"{wanted} is wanted") from None


def _refusal(one: Setting, given: Given, wanted: str) -> ConfigError:
    value = " ".join(map(str, given.value)) if isinstance(given.value, list) else given.value
    return ConfigError(f"{one.path} cannot be {value!r} ({given.origin}): {wanted}")


def _presets(presets: Path | None) -> list[str]:
    return sorted(path.stem for path in presets.glob("*.yaml")) if presets else []


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
