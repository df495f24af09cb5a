"""NCCL's own report on a job that does not move, from its RAS subsystem.

The report is text for people. The lines parsed here are documented in NCCL's user guide, under
RAS, in the spelling of versions 2.24 to 2.31; other lines are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from gpuops.core.diagnosis.culprit import Attribution, Culprit

_GROUP = re.compile(r"\s*(\d+)\s+(\d+)\s+\d+\s+[\d-]+\s+(\d+)\s+\d+\s+[A-Z]+\s+[A-Z,]+\s*$")
_HEADING = re.compile(r"(?:#(\d+)-\d+ \([0-9a-f]+\) )?([A-Z]+)$")
_DIFFERENT = "  Communicator ranks have different "
_COUNTS = re.compile(_DIFFERENT + r"(\w+) operation counts")
_LEVEL = re.compile(
    r"  (?:\d+ ranks have|Rank \d+ has) "
    r"(?:launched up to operation (\d+)|not launched any operations)"
)
_RANK = re.compile(r"  Rank (\d+) .*?-- (?:GPU .* managed by process (\d+) on )?")
_PROCESS = re.compile(r"  Process (\d+) on node ")
_RANKS = re.compile(r"  The missing ranks?: ([\d, ]+)$")
UNANSWERED = {"INCOMPLETE", "DEAD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A ``rank`` of a communicator of ``ranks``, or a process, as far as NCCL names it."""

    rank: int | None = None
    ranks: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A rank that has launched fewer operations of a kind than others of its communicator."""

    peer: Peer
    operation: str
    launched: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RasReport:
    """NCCL's report on its ``communicators``; their number is 0 if the report is incomplete.

    ``missing``: the peers that do not answer; ``behind``: those that have launched fewer
    operations than others; ``errors``: NCCL's own messages.
    """

    communicators: int = 0
    missing: tuple[Peer, ...] = ()
    behind: tuple[Behind, ...] = ()
    errors: tuple[str, ...] = ()


class _Section(NamedTuple):
    """The lines below a heading; ``ranks`` is the size of its communicator."""

    what: str
    ranks: int | None
    lines: list[str]


def parse_report(text: str) -> RasReport:
    """Parse the answer to ``VERBOSE STATUS``."""
    sizes: dict[str, int] = {}
    sections: list[_Section] = []
    communicators = 0
    for line in text.splitlines():
        if row := _GROUP.match(line):
            sizes[row[1]] = int(row[3])
            communicators += int(row[2])
        elif heading := _HEADING.match(line):
            sections.append(_Section(heading[2], sizes.get(heading[1]), []))
        elif sections and line.startswith("  "):
            sections[-1].lines.append(line)
    return RasReport(
        communicators=communicators,
        missing=tuple(p for s in sections if s.what in UNANSWERED for p in _missing(s)),
        behind=tuple(b for s in sections if s.what == "MISMATCH" for b in _behind(s)),
        errors=tuple(e.strip() for s in sections if s.what == "ERROR" for e in s.lines),
    )


def _missing(section: _Section) -> Iterator[Peer]:
    for line in section.lines:
        if match := _PROCESS.match(line):
            yield Peer(pid=int(match[1]))
        elif match := _RANKS.match(line):  # NCCL 2.24
            for number in match[1].replace(",", " ").split():
                yield Peer(rank=int(number), ranks=section.ranks)
        elif match := _RANK.match(line):
            yield _peer(match, section)


def _behind(section: _Section) -> Iterator[Behind]:
    """For each kind of operation, the named peers that are behind the furthest."""
    named: list[tuple[str, int, Peer]] = []
    furthest: dict[str, int] = {}
    operation, level = "", 0
    for line in section.lines:
        if line.startswith(_DIFFERENT):
            counts = _COUNTS.match(line)
            operation = counts[1] if counts else ""  # or they differ in their status
        elif operation:
            if count := _LEVEL.match(line):
                level = int(count[1] or 0)
                furthest[operation] = max(level, furthest.get(operation, 0))
            if match := _RANK.match(line):
                named.append((operation, level, _peer(match, section)))
    for operation, level, peer in named:
        if level < furthest[operation]:
            yield Behind(peer=peer, operation=operation, launched=level, others=furthest[operation])


def _peer(match: re.Match[str], section: _Section) -> Peer:
    return Peer(rank=int(match[1]), ranks=section.ranks, pid=int(match[2]) if match[2] else None)


def apply_ras(attribution: Attribution, report: RasReport, pids: Mapping[int, int]) -> Attribution:
    """Add NCCL's report to the attribution: it decides if the stacks do not, and is never sure.

    ``pids`` are the job's processes by rank.
    """
    if not report.communicators and not report.missing:
        return attribution
    silent = {rank for peer in report.missing if (rank := _rank(peer, pids)) is not None}
    late = {rank: one for one in report.behind if (rank := _rank(one.peer, pids)) is not None}
    words = {rank: f"rank {rank} does not answer NCCL's RAS" for rank in sorted(silent)}
    words |= {rank: _describe_behind(rank, late[rank]) for rank in sorted(late.keys() - silent)}
    lines = [*words.values(), *(f"NCCL: {error}" for error in report.errors)]
    equal = not report.missing and not report.behind
    lines += ["NCCL: all ranks answer, and have launched equally many operations"] * equal
    found = replace(attribution, evidence=(*attribution.evidence, *lines))
    suspects = silent or set(late)
    culprit = attribution.culprit
    if culprit.sure or not attribution.standstill or len(suspects) != 1 or culprit.rank in suspects:
        return found
    (one,) = suspects
    suspected = Culprit(kind="unknown", rank=one, sure=False, why=words[one], pid=pids.get(one))
    evidence = (f"by the stacks: {culprit.why}", *found.evidence)
    return replace(found, culprit=suspected, evidence=evidence)


def _rank(peer: Peer, pids: Mapping[int, int]) -> int | None:
    """The peer's rank in the job: by its process, or in the communicator of all ranks."""
    by_pid = next((rank for rank, pid in pids.items() if pid == peer.pid), None)
    return peer.rank if by_pid is None and peer.ranks == len(pids) else by_pid


def _describe_behind(rank: int, one: Behind) -> str:
    kind = "" if one.operation == "collective" else f"{one.operation} "
    done = f"up to {kind}operation {one.launched}" if one.launched else f"no {kind}operation"
    return f"rank {rank} has launched {done}, others up to {one.others} (NCCL's own counts)"
