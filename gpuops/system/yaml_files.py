"""YAML written by users: read safely, with errors that name file and line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from gpuops.errors import UsageError
from gpuops.system.files import open_regular

try:  # ten times as fast; missing in a PyYAML built without libyaml
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

MAX_BYTES = 100_000
MAX_DEPTH = 32
MAX_INTEGER = 2**63  # larger ones fail in some part of Python, JSON or C

# Errors that PyYAML's own constructors raise for values such as `!!timestamp foo`.
_ODD = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


class _Loader(SafeLoader):
    """Plain data; errors name the line of the value, integers have 64 bits, keys are unique."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except _ODD:
            kind = node.tag.rpartition(":")[2]
            shown = f"{node.value!r:.60}" if isinstance(node, yaml.ScalarNode) else "what stands"
            raise _bad(node, f"{shown} is not a {kind}") from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a repeated key, of which PyYAML silently takes the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    name = key.value[:80]
                    name = name if name.isprintable() else repr(name)
                    raise _bad(key, f"the key {name} is given twice")
                seen.add(key.value)
        super().flatten_mapping(node)

    def integer(self, node: yaml.ScalarNode) -> int:
        """An integer of 64 bits."""
        value = int(self.construct_yaml_int(node))
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise _bad(node, "the number is too large")
        return value


def _bad(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)


def read_yaml(path: Path, of: Collection[int] | None = None) -> object:
    """Read a YAML file. Aliases, deep nesting and a key given twice are refused.

    ``of``: the users to one of whom it must belong.

    Raises:
        UsageError: it is not there, too large, or does not parse; names the file and line.
    """
    try:
        with open_regular(path, of, follow=True) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path} is larger than 100 kB: that is not a profile or manifest.")
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> object:
    """Parse the text of a YAML file; ``source`` names it in errors.

    Raises:
        UsageError: it does not parse; names the source and line.
    """
    try:
        _refuse_bombs(text, source)
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        reason = error.problem or error.context or "it does not parse"
        line = _line(error.problem_mark or error.context_mark)
        raise _refusal(source, line, reason, text) from error
    except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
        place = error.start if isinstance(error, UnicodeEncodeError) else error.position
        line = text.encode(errors="replace")[:place].count(b"\n") + 1
        raise _refusal(source, line, "it has a character that is not text", "") from error


def _refuse_bombs(text: str, source: str) -> None:
    """Check the flat stream of events, before any object is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(source, _line(event.start_mark), "aliases are not allowed", text)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(source, _line(event.start_mark), "it is nested too deeply", text)


def _line(mark: Any) -> int:
    return mark.line + 1 if mark is not None else 1


def _refusal(source: str, line: int, reason: str, text: str) -> UsageError:
    lines = text.splitlines()
    shown = lines[line - 1].strip()[:80] if 0 < line <= len(lines) else ""
    return UsageError(
        f"{source}, line {line}: {reason}.", f"The line reads: {shown}" if shown else ""
    )
