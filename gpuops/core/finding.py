"""What a check found: the one value that preflight reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["ok", "warning", "error"]
Figure = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One checked fact. ``check`` is its short name, by which ``--force`` can override it.

    ``summary`` is the sentence for people; ``measured`` and ``wanted`` are its two figures for
    programs, with the unit if they have one (``"24 GiB"``). An error that is not ``forcible``
    stops a launch even with ``--force``.
    """

    check: str
    severity: Severity
    summary: str
    hint: str = ""
    measured: Figure = None
    wanted: Figure = None
    forcible: bool = True


def ok(check: str, summary: str, *, measured: Figure = None, wanted: Figure = None) -> Finding:
    """The fact is as it should be."""
    return Finding(check=check, severity="ok", summary=summary, measured=measured, wanted=wanted)


def warning(
    check: str, summary: str, hint: str, *, measured: Figure = None, wanted: Figure = None
) -> Finding:
    """The job can run, but the user should know."""
    found = ok(check, summary, measured=measured, wanted=wanted)
    return replace(found, severity="warning", hint=hint)


def error(
    check: str, summary: str, hint: str, *, measured: Figure = None, wanted: Figure = None
) -> Finding:
    """The job would fail, or harm another user's job."""
    found = ok(check, summary, measured=measured, wanted=wanted)
    return replace(found, severity="error", hint=hint)
