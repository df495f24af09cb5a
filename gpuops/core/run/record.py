"""A run as its folder describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["running", "finished", "failed", "stopped", "elsewhere", "lost", "hidden"]

LAST_S = 253_402_214_400.0  # the end of the year 9999: no clock shows more


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One start of torchrun in a run: ``returncode`` is ``None`` while it is not known.

    ``elsewhere`` is the host that it was started on, if it is another: only that one can tell
    whether it is ``alive``. ``hidden``: it may be alive, but /proc does not show its processes.
    """

    number: int
    started_at: float | None
    ended_at: float | None
    returncode: int | None
    alive: bool
    hidden: bool = False
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What ``gpuops runs`` shows of a run. ``owner``: whose files they are, and if they are ours.

    ``hidden``: what of the run's folder may not be read by this user. ``supervisor_stopped`` is its
    supervisor's pid if that is stopped, as by Ctrl-Z.
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
    supervisor_stopped: int | None = None


def describe_stopped(pid: int | None) -> str:
    """The words for a run whose supervisor is stopped; empty if it is not."""
    return f"unsupervised: its supervisor is stopped (kill -CONT {pid})" if pid else ""


def status(events: Sequence[Mapping[str, Any]], attempts: Sequence[Attempt]) -> Status:
    """Running while its newest attempt lives; else what was recorded of its end; else lost.

    ``elsewhere`` if another host has started it, and has not recorded its end; ``hidden`` if /proc
    does not show whether it runs.
    """
    if not attempts:
        return "lost"
    newest = attempts[-1]
    if newest.alive:
        return "running"
    for event in reversed(events):
        what, outcome = event.get("event"), event.get("outcome")
        if what == "attempt_started":
            break
        ended = what == "attempt_ended" and event.get("attempt") == newest.number
        if (ended or what == "run_ended") and outcome in ("finished", "failed", "stopped"):
            return outcome  # type: ignore[no-any-return]
    if newest.returncode is not None:
        return "finished" if newest.returncode == 0 else "failed"
    if newest.elsewhere:
        return "elsewhere"
    return "hidden" if newest.hidden else "lost"
