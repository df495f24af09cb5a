"""The failure that torchrun reports in its log."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

_RANK = re.compile(r"^\s*rank\s*:\s*(\d+)", re.MULTILINE)
_EXITCODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first rank that failed, and how; ``signal_name`` if a signal ended it."""

    rank: int
    exitcode: int
    signal_name: str | None


def root_cause(agent_log: str) -> Failure | None:
    """The first failure that torchrun observed, from its log; ``None`` if it names none."""
    _, named, block = agent_log.rpartition("Root Cause (first observed failure)")
    rank, exitcode = _RANK.search(block), _EXITCODE.search(block)
    if not named or rank is None or exitcode is None:
        return None
    code = int(exitcode[1])
    return Failure(rank=int(rank[1]), exitcode=code, signal_name=signal_name(code))


def signal_name(returncode: int) -> str | None:
    """``SIGKILL`` for -9; ``None`` if no signal ended the process."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def last_lines(stderr: str, lines: int = 12) -> list[str]:
    """The last lines of a rank's stderr that are not blank."""
    return [line.rstrip() for line in stderr.splitlines() if line.strip()][-lines:]
