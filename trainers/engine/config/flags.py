"""The command line as settings: every spelling in which a flag may be typed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainers.engine.config.fields import Given, Setting, find, nearest
from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}
_OWN = ("config", "preset", "debug", "defaults", "help")
# torch.distributed.launch adds --local-rank; the variable LOCAL_RANK says the same.
_TAKEN = ("config", "preset", "local_rank")


@dataclass(slots=True, kw_only=True)
class Flags:
    """A parsed command line: settings by path, and the flags of the parser itself.

    A setting's origin is the flag as it was typed. ``debug`` lays the preset of that name over
    presets and files. ``weak`` is what ``--defaults KEY=VALUE ...`` says: a launcher's wishes,
    which yield to files.
    """

    values: dict[str, Given] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    preset: str | None = None
    debug: bool = False
    weak: Flags | None = None
    wants_help: bool = False


def parse(argv: Sequence[str], settings: list[Setting], name: str) -> Flags:
    """Read ``--flag``, ``--no-flag``, ``--flag VALUE``, ``--flag=VALUE`` and lists; later wins.

    Raises:
        ConfigError: a flag is not one of these settings; it names the nearest one.
    """
    flags = Flags()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            flags.wants_help = True
            continue
        if not word.startswith("--") or word == "--":
            raise ConfigError(f"'{word}' is not a flag of {name}: flags start with --")
        typed, equals, value = word.partition("=")
        key = typed[2:].replace("-", "_")
        if equals:
            rest.insert(0, value)
        if key == "defaults":
            pairs = [_one(typed, rest, equals)]
            while rest and not _is_flag(rest[0]) and "=" in rest[0]:
                pairs.append(rest.pop(0))
            flags.weak = parse([f"--{pair}" for pair in pairs], settings, name)
            continue
        if key in ("debug", "no_debug"):
            flags.debug = key == "debug" and _switched(typed, rest, equals)
            continue
        if key in _TAKEN:
            _take(flags, key, _one(typed, rest, equals))
            continue
        setting, negated = _lookup(key, settings)
        if setting is None:
            raise _unknown(typed, key, settings, name)
        found = False if negated else _value(setting, typed, rest, equals)
        flags.values[setting.path] = Given(found, typed)
    return flags


def _switched(typed: str, rest: list[str], equals: str) -> bool:
    if not equals and (not rest or _is_flag(rest[0])):
        return True
    value = _one(typed, rest, equals)
    if value.lower() not in _TRUTH:
        raise ConfigError(f"{typed} cannot be {value!r}: true or false is wanted")
    return _TRUTH[value.lower()]


def _take(flags: Flags, key: str, value: str) -> None:
    if key == "config":
        flags.configs.append(value)
    elif key == "preset":
        flags.preset = value


def _lookup(key: str, settings: list[Setting]) -> tuple[Setting | None, bool]:
    setting = find(settings, key)
    if setting is not None or not key.startswith("no_"):
        return setting, False
    setting = find(settings, key[3:])
    return (setting, True) if setting is not None and setting.is_switch else (None, False)


def _value(setting: Setting, typed: str, rest: list[str], equals: str) -> Any:
    if setting.is_list:
        values = [_one(typed, rest, equals)]
        while not equals and rest and not _is_flag(rest[0]):
            values.append(rest.pop(0))
        joined = [part for value in values for part in re.split(r"[,\s]+", value.strip("[]()"))]
        return [part for part in joined if part and part.lower() != "none"]
    if setting.is_switch and not equals and (not rest or _is_flag(rest[0])):
        return True
    value = _one(typed, rest, equals)
    return _TRUTH.get(value.lower(), value) if setting.is_switch else value


def _one(typed: str, rest: list[str], equals: str) -> str:
    if not rest or (_is_flag(rest[0]) and not equals):
        raise ConfigError(f"{typed} needs a value")
    return rest.pop(0)


def _is_flag(word: str) -> bool:
    return word.startswith("--") or word == "-h"


def _unknown(typed: str, key: str, settings: list[Setting], name: str) -> ConfigError:
    close = nearest(settings, key, _OWN)
    hint = "" if close else f"python -m trainers.{name}.config --help lists all settings"
    tail = f"; the nearest is {_spell(close, typed)}" if close else ""
    return ConfigError(f"{typed} is not a setting of {name}{tail}", hint)


def _spell(leaf: str, typed: str) -> str:
    """The name as flag, with dashes unless the user writes underscores."""
    return f"--{leaf if '_' in typed else leaf.replace('_', '-')}"
