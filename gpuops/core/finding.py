"""What a check found: the one value that preflight speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One checked fact. ``check`` is its short name, by which ``--force`` can overrule it."""

    check: str
    severity: Severity
    summary: str
    hint: str = ""


def ok(check: str, summary: str) -> Finding:
    """The fact is as it should be."""
    return Finding(check=check, severity="ok", summary=summary)


def warning(check: str, summary: str, hint: str) -> Finding:
    """The job can run, but somebody should know."""
    return Finding(check=check, severity="warning", summary=summary, hint=hint)


def error(check: str, summary: str, hint: str) -> Finding:
    """The job would fail, or harm somebody else's."""
    return Finding(check=check, severity="error", summary=summary, hint=hint)
