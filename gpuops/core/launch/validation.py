"""Documents that users write: strict sections, and what is wrong in words for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A mapping of a document; nothing in it is guessed or converted."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )


WANTED = {
    "int_type": "a whole number is wanted",
    "float_type": "a number is wanted",
    "bool_type": "true or false is wanted",
    "list_type": "a list is wanted",
    "dict_type": "keys and values are wanted",
    "model_type": "keys and values are wanted",
    "finite_number": "a finite number is wanted",
    "greater_than": "more than {gt:g} is wanted",
    "greater_than_equal": "{ge:g} or more is wanted",
    "less_than": "less than {lt:g} is wanted",
    "less_than_equal": "{le:g} or less is wanted",
    "literal_error": "{expected} is wanted",
    "string_too_short": "text of {min_length} characters or more is wanted",
    "string_too_long": "text of up to {max_length} characters is wanted",
}


def describe_mistake(path: str, error: Any, keys: Iterable[str], reason: str = "") -> str:
    """A sentence part for pydantic's ``error`` at a ``path``; ``keys`` are those there could be."""
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), keys, n=1)
        return f"{path} is not a key" + (f" (the nearest is {near[0]})" if near else "")
    if error["type"] == "missing":
        return f"{path} is missing"
    return f"{path} is {error['input']!r:.60}: {reason or wanted(error)}"


def describe_first(problem: ValidationError, whole: str = "") -> str:
    """Pydantic's first error with its path, in pydantic's words; ``whole`` names the document."""
    first = problem.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg'].lower()}"


def wanted(error: Any) -> str:
    """What pydantic's ``error`` asks for; in its own words if there are no better ones."""
    kind = error["type"]
    if kind == "string_type":
        quotes = isinstance(error["input"], (bool, int, float))
        return "text is wanted: put it in quotes" if quotes else "text is wanted"
    if kind in WANTED:
        return WANTED[kind].format(**error.get("ctx", {}))
    return str(error["msg"][0].lower() + error["msg"][1:])
