"""What a refused value should be, in words for people rather than for a validator."""

from __future__ import annotations

from typing import Any

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


def wanted(error: Any) -> str:
    """What pydantic's ``error`` asks for; in its own words if there are no better ones."""
    kind = error["type"]
    if kind == "string_type":
        quotes = isinstance(error["input"], (bool, int, float))
        return "text is wanted: put it in quotes" if quotes else "text is wanted"
    if kind in WANTED:
        return WANTED[kind].format(**error.get("ctx", {}))
    return str(error["msg"][0].lower() + error["msg"][1:])
