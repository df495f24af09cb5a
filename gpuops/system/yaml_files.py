"""YAML that a person wrote: read safely, and refused by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gpuops.errors import UsageError

MAX_BYTES = 100_000
MAX_DEPTH = 32

# What PyYAML's own constructors let through for values such as `!!timestamp foo`.
_ODD = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def read_yaml(path: Path) -> object:
    """Read a YAML file. Aliases, deep nesting and a key given twice are refused.

    Raises:
        UsageError: it is not there, too large, or does not parse; names the file and line.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than 100 kB: that is no profile or manifest.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    try:
        _refuse_bombs(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_twice(path, node)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        reason = error.problem or error.context or "it does not parse"
        raise _refusal(
            path, _line(error.problem_mark or error.context_mark), reason, text
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {str(error).splitlines()[0]}.") from error
    except _ODD as error:
        raise UsageError(f"{path} is not YAML that means anything: {error}.") from error


def _refuse_bombs(path: Path, text: str) -> None:
    """Look at the flat stream of events, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(path, _line(event.start_mark), "aliases are not allowed", text)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(path, _line(event.start_mark), "it is nested too deeply", text)


def _refuse_twice(path: Path, node: yaml.Node | None) -> None:
    """PyYAML lets the last of two equal keys win, without a word."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise UsageError(f"{path}, line {line}: the key {key.value} is given twice.")
                seen.add(key.value)
            _refuse_twice(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(path, item)


def _line(mark: Any) -> int:
    return mark.line + 1 if mark is not None else 1


def _refusal(path: Path, line: int, reason: str, text: str) -> UsageError:
    lines = text.splitlines()
    shown = lines[line - 1].strip()[:80] if 0 < line <= len(lines) else ""
    return UsageError(
        f"{path}, line {line}: {reason}.", f"The line reads: {shown}" if shown else ""
    )
