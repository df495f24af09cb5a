"""How the ranks ended, as torchrun reports it in its log."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

_BLOCK = re.compile(r"^\s*\[\d+\]:\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\s*(time|rank|exitcode)\s*:\s*(\S+)(?:.*\(pid: (\d+)\))?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEnd:
    """How a rank ended. ``exitcode`` is negative if a signal ended it.

    ``stderr_tail`` is the end of its stderr; ``ended_at`` is in seconds of any one clock.
    """

    rank: int
    exitcode: int | None = None
    stderr_tail: str = ""
    ended_at: float | None = None
    pid: int | None = None
    gpu: int | None = None

    @property
    def killed_by(self) -> int | None:
        """The signal that ended it."""
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None


def root_cause(agent_log: str) -> RankEnd | None:
    """The first failure that torchrun observed; ``None`` if its log names no rank and exit code."""
    found = _parse_block(_blocks(agent_log)[0])
    return None if found is None or found.exitcode is None else found


def parse_rank_ends(
    agent_log: str, stderr_tails: Mapping[int, str], gpus: Mapping[int, int] | None = None
) -> tuple[RankEnd, ...]:
    """How the ranks ended according to torchrun's log, its first observed failure first.

    Ranks that it does not mention have neither exit code nor signal.
    """
    ends: dict[int, RankEnd] = {}
    reported = [end for end in map(_parse_block, _blocks(agent_log)) if end is not None]
    for end in (*reported, *(RankEnd(rank=rank) for rank in sorted(stderr_tails))):
        ends.setdefault(end.rank, end)
    return tuple(
        replace(end, stderr_tail=stderr_tails.get(rank, ""), gpu=(gpus or {}).get(rank))
        for rank, end in ends.items()
    )


def _blocks(agent_log: str) -> list[str]:
    """The report's block of each failed rank: that of the root cause, then the others."""
    report, named, root = agent_log.rpartition("Root Cause (first observed failure)")
    return [root, *_BLOCK.split(report.rpartition("Failures:")[2])[1:]] if named else [""]


def _parse_block(block: str) -> RankEnd | None:
    fields = {match[1]: match for match in reversed([*_FIELD.finditer(block)])}
    rank, pid = _number(fields, "rank"), fields["exitcode"][3] if "exitcode" in fields else None
    if rank is None:
        return None
    return RankEnd(
        rank=rank,
        exitcode=_number(fields, "exitcode"),
        ended_at=_time(fields["time"][2]) if "time" in fields else None,
        pid=int(pid) if pid else None,
    )


def _number(fields: Mapping[str, re.Match[str]], name: str) -> int | None:
    text = fields[name][2] if name in fields else ""
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _time(text: str) -> float | None:
    """Seconds of torchrun's ``2026-11-21_06:12:03``; to compare, not to show."""
    try:
        return datetime.strptime(text, "%Y-%m-%d_%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def signal_name(returncode: int | None) -> str | None:
    """``SIGKILL`` for -9; ``None`` if no signal ended the process."""
    if returncode is None or returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def last_lines(stderr: str, lines: int = 12) -> list[str]:
    """The last lines of a rank's stderr that are not blank."""
    return [line.rstrip() for line in stderr.splitlines() if line.strip()][-lines:]
