"""What settings a config class has: names, types, defaults and help, read from its fields."""

from __future__ import annotations

import difflib
import types
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def setting(
    default: Any,
    help_text: str,
    *,
    switch: tuple[str, str] | None = None,
    also: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its help text.

    ``switch=(on, off)`` lets a choice be given as a switch too: bare or true means ``on``,
    false means ``off``. ``also`` are other names that it can be given by.
    """
    return field(default=default, metadata={"help": help_text, "switch": switch, "also": also})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its section and name, its type, its default."""

    section: str
    leaf: str
    annotation: Any
    default: Any
    help: str = ""
    switch: tuple[str, str] | None = None
    also: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """``section.leaf``, or the leaf alone at the top level."""
        return f"{self.section}.{self.leaf}" if self.section else self.leaf

    @property
    def optional(self) -> bool:
        """Whether it may be none."""
        return type(None) in _alternatives(self.annotation)

    @property
    def kind(self) -> Any:
        """Its type without none and without constraints."""
        kinds = [a for a in _alternatives(self.annotation) if a is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else self.annotation

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.kind) in (tuple, list)

    @property
    def is_switch(self) -> bool:
        """Whether it can be given without a value."""
        return self.kind is bool or self.switch is not None

    @property
    def wanted(self) -> str:
        """What it takes, for an error's sentence."""
        return _words(self.kind) + (" or none" if self.optional else "")


@dataclass(frozen=True, slots=True)
class Given:
    """A value and its origin, for the sentence that refuses it."""

    value: Any
    origin: str


def settings_of(cls: type) -> list[Setting]:
    """List all settings of a config class in their order.

    A field that is itself a dataclass is a section. Leaf names must be unique over all sections,
    as each may be given bare.

    Raises:
        TypeError: two settings have one name, or one has no default: a mistake in the class.
    """
    found: list[Setting] = []
    hints = get_type_hints(cls, include_extras=True)
    for section in fields(cls):
        kind = hints[section.name]
        if not is_dataclass(kind):
            found.append(_setting("", section, kind, _default(section)))
            continue
        holder = _default(section)
        inner = get_type_hints(kind, include_extras=True)
        found += [
            _setting(section.name, leaf, inner[leaf.name], getattr(holder, leaf.name))
            for leaf in fields(kind)
        ]
    by_name: dict[str, Setting] = {}
    for one in found:
        for name in (one.leaf, *one.also):
            if name in by_name:
                msg = f"{by_name[name].path} and {one.path}: one of the two needs another name"
                raise TypeError(msg)
            by_name[name] = one
    return found


def find(settings: list[Setting], name: str) -> Setting | None:
    """The setting called ``name``: bare or dotted, with dashes or underscores."""
    name = name.replace("-", "_")
    return next((s for s in settings if name in (s.leaf, s.path, *s.also)), None)


def nearest(settings: list[Setting], name: str, extra: tuple[str, ...] = ()) -> str | None:
    """The known name that is most like a misspelt one."""
    names = [s.path if "." in name else s.leaf for s in settings] + list(extra)
    name = name.replace("-", "_")
    longer = [known for known in names if known.startswith(name)]
    close = difflib.get_close_matches(name, longer or names, n=1, cutoff=0 if longer else 0.6)
    return close[0] if close else None


def _default(of: Any) -> Any:
    if of.default is not MISSING:
        return of.default
    if of.default_factory is not MISSING:
        return of.default_factory()
    raise TypeError(f"{of.name} has no default; every setting needs one")


def _setting(section: str, of: Any, annotation: Any, default: Any) -> Setting:
    return Setting(
        section=section, leaf=of.name, annotation=annotation, default=default, **of.metadata
    )


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    bare = _bare(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return get_args(bare)
    return (annotation,)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_PLURALS = {int: "whole numbers", float: "numbers", bool: "true or false values"}


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        choices = ", ".join(str(choice) for choice in get_args(kind))
        return f"one of {choices}" if len(get_args(kind)) > 1 else choices
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_words(_bare(a)) for a in get_args(kind) if a is not type(None))
    if get_origin(kind) in (tuple, list):
        inner = [_bare(a) for a in get_args(kind) if a is not Ellipsis]
        several = _PLURALS.get(inner[0], "values")
        fixed = get_origin(kind) is tuple and Ellipsis not in get_args(kind)
        count = f"{len(inner)} " if fixed else ""
        return f"a list of {count}{several}"
    return _WORDS.get(kind, "a path" if getattr(kind, "__name__", "") == "Path" else "a value")
