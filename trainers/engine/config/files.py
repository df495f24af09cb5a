"""Config files as mappings: YAML, JSON, JSON with comments. Errors name the file and the line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from trainers.engine.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a config file; an empty file is an empty mapping.

    Raises:
        ConfigError: it cannot be read, does not parse, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"the config file {path} cannot be read: {reason}") from None
    parse = _json if path.suffix.lower() in (".json", ".json5", ".jsonc") else _yaml
    values = parse(text, path)
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no settings: lines such as 'lr: 2e-4' are wanted")
    return values


def _yaml(text: str, path: Path) -> Any:
    import yaml  # noqa: PLC0415 - only a run with a config file pays for it

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: this is not YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())})") from None


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    import json5  # noqa: PLC0415 - plain JSON does without it

    try:
        return json5.loads(text)
    except ValueError as error:
        at = re.match(r"<string>:(\d+) (.*)", str(error))
        line, reason = (at[1], at[2]) if at else ("1", str(error))
        raise ConfigError(f"{path}, line {line}: this is not JSON ({reason})") from None
