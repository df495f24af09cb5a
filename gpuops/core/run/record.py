"""A run as its folder describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["running", "finished", "failed", "stopped", "elsewhere", "lost", "hidden"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of torchrun in a run: ``returncode`` is ``None`` while it is not known.

    ``elsewhere`` is the host that it was started on, if it is another: only that one can tell
    whether it is ``alive``.
    """

    number: int
    started_at: float | None
    ended_at: float | None
    returncode: int | None
    alive: bool
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What ``gpuops runs`` shows of a run. ``owner``: whose files they are, and if they are ours.

    ``hidden``: what of the run's folder may not be read by this user.
    """

    run_id: str
    path: str
    target: str
    profile: str
    workers: int
    status: Status
    started_at: float | None
    ended_at: float | None
    attempts: tuple[Attempt, ...]
    step: int | None
    total_steps: int | None
    owner: str = ""
    ours: bool = True
    hidden: tuple[str, ...] = ()


def status(events: Sequence[Mapping[str, Any]], attempts: Sequence[Attempt]) -> Status:
    """Running while its newest attempt lives; else what its last event says; else lost.

    ``elsewhere`` if another host has started it, and has not recorded its end.
    """
    if not attempts:
        return "lost"
    newest = attempts[-1]
    if newest.alive:
        return "running"
    for event in reversed(events):
        if event.get("event") == "attempt_ended" and event.get("attempt") == newest.number:
            outcome = event.get("outcome")
            if outcome in ("finished", "failed", "stopped"):
                return outcome  # type: ignore[no-any-return]
    if newest.returncode is not None:
        return "finished" if newest.returncode == 0 else "failed"
    return "elsewhere" if newest.elsewhere else "lost"
