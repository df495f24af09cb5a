"""YAML that a person wrote: read safely, and refused by file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gpuops.errors import UsageError

MAX_YAML_BYTES = 1_000_000


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML without aliases: a profile has no use for them, a billion laughs has."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> object:
    """Read a YAML file that a person wrote.

    Raises:
        UsageError: it is not there, too large, or does not parse; names the file and line.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UsageError(f"{path} is larger than 1 MB: that is no profile or manifest.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    return _parse(path, text, lambda: yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader


def _parse(path: Path, text: str, load: Callable[[], object]) -> object:
    try:
        return load()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        shown = text.splitlines()[line - 1].strip() if line <= len(text.splitlines()) else ""
        raise UsageError(
            f"{path}, line {line}: {error.problem or error.context}.",
            f"The line reads: {shown}" if shown else "",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {error}.") from error
