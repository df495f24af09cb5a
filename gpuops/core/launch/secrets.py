"""What of a launch may be secret: masked in all that is shown and in all that others can read.

What looks like a secret is the value of a name such as ``--hf-token``, ``API_KEY`` or
``password``, and user and password in a URL. Hooks and the profile's environment are secret as
they are. A mask too many does no harm: the values themselves are in a file of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"
# The fields of a plan that may hold secrets, and those that are secret whatever they hold.
_FIELDS = {
    "options", "arguments", "fit_arguments", "resume_arguments", "defaults", "profile_environment",
}  # fmt: skip
_WHOLE = {"profile_environment", "on_hang", "on_exit"}

_WORDS = "token|key|passw|passphrase|secret|credential|authorization"
_NAME = re.compile(_WORDS, re.IGNORECASE)
_HARMLESS = re.compile(r"tokeni[sz]|key[-_]?(?:point|frame|word|board)|monkey", re.IGNORECASE)
_COUNTED = re.compile(r"(?:token|key)s", re.IGNORECASE)  # `--max-tokens 4096`
_NUMBER = re.compile(r"[-+]?[\d._]+(?:e[-+]?\d+)?", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(-{0,2}[\w.-]+)(=|:\s+)(.+)", re.DOTALL)
# `name=value` and `name: value` within a text. Bounded: a hostile text must not take minutes.
_PAIR = re.compile(
    rf"""(?<![\w.-])(?=[\w.-]{{0,199}}?(?:{_WORDS}))([\w.-]{{1,200}}["']?)(\s{{0,3}}[=:]\s{{0,3}})"""
    r"""("[^"]*"|'[^']*'|(?:(?:bearer|basic)\s+)?[^\s,;&"'}]+)""",
    re.IGNORECASE,
)
_URL = re.compile(
    r"(?<![a-z0-9+.-])([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/@:]*:[^\s/]*|[^\s/@:]{16,})@",
    re.IGNORECASE,
)


def mask_words(words: Sequence[str]) -> list[str]:
    """The words of a command, with what looks like a secret masked."""
    flags = ("", *(word if word.startswith("-") and "=" not in word else "" for word in words))
    return [
        MASK if _is_secret(flag, word) and not word.startswith("--") else _mask_word(word)
        for flag, word in zip(flags, words, strict=False)
    ]


def mask_text(text: str) -> str:
    """A text, with what looks like a secret masked: ``api_key: ***``, ``https://***@host``."""
    return _PAIR.sub(_mask_pair, _URL.sub(rf"\1{MASK}@", text))


def mask_lines(text: str) -> str:
    """A file of settings, a name and its value on each line, with the secrets masked."""
    lines = ((line, line.lstrip()) for line in text.split("\n"))
    return "\n".join(line[: len(line) - len(bare)] + _mask_word(bare) for line, bare in lines)


def mask_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment, with those masked that look like secrets."""
    return {
        name: MASK if _is_secret(name, value) else mask_text(value)
        for name, value in variables.items()
    }


def mask_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as JSON holds it, with all masked that is or looks secret."""
    return {
        name: _mask_value(name, value) if name in _FIELDS else value for name, value in plan.items()
    }


def secret_part(plan: Any, masked: Any) -> Any:
    """What was masked of a plan, in the plan's own form; what is equal in both is left out."""
    if not isinstance(plan, Mapping) or not isinstance(masked, Mapping):
        return plan
    changed = {name: value for name, value in plan.items() if value != masked[name]}
    return {name: secret_part(value, masked[name]) for name, value in changed.items()}


def unmask(masked: Any, secret: Any) -> Any:
    """The plan that was masked, of its ``secret_part``."""
    if not isinstance(masked, Mapping) or not isinstance(secret, Mapping):
        return secret
    return {**masked, **{name: unmask(masked.get(name), one) for name, one in secret.items()}}


def _mask_value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        whole = name in _WHOLE
        return {key: MASK if whole else _mask_value(str(key), one) for key, one in value.items()}
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return mask_words(value)
    if value is None or isinstance(value, (bool, list)):
        return value
    if name in _WHOLE or _is_secret(name, str(value)):
        return MASK
    return mask_text(value) if isinstance(value, str) else value


def _mask_word(word: str) -> str:
    found = _ASSIGNMENT.fullmatch(word)
    if found is not None and _is_secret(found[1], found[3]):
        return f"{found[1]}{found[2]}{MASK}"
    return mask_text(word)


def _mask_pair(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{MASK}" if _is_secret(found[1], found[3]) else found[0]


def _is_secret(name: str, value: str) -> bool:
    """Whether a name says that its value is secret; numbers of tokens are not."""
    name = _HARMLESS.sub("", name)
    counted = _COUNTED.search(name) is not None and _NUMBER.fullmatch(value) is not None
    return _NAME.search(name) is not None and value != "" and not counted
