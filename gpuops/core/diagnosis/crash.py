"""Why a job crashed: which failure came first and was not the consequence of another.

When a rank ends, the others fail in their collective, often with longer tracebacks, and torchrun
sometimes sees them first: those are consequences. So is the SIGTERM that torchrun then sends.
"""

from __future__ import annotations

import math
import re
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuops.core.diagnosis.diagnosis import ADVICE, Diagnosis, Kind
from gpuops.core.diagnosis.gpu_loss import describe_xid, diagnose_xids
from gpuops.core.diagnosis.rank_failure import RankFailure, classify_end, find_symptom, shorten
from gpuops.core.diagnosis.stderr_tail import parse_stderr
from gpuops.core.diagnosis.torchrun_failure import RankEnd, last_lines, signal_name
from gpuops.core.machine.device import Xid
from gpuops.core.machine.oom_kills import OomKills
from gpuops.errors import ExitCode
from gpuops.reaper import NOT_FOUND
from gpuops.text import MIB

# Of torchrun: it does not take its command line, or cannot be executed, or is not there.
CANNOT_RUN = {ExitCode.USAGE, 126, NOT_FOUND}
_NAN_ON = re.compile(r"not finite on rank (\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """What an attempt left behind. ``ranks`` are in the order in which torchrun saw them end.

    ``returncode`` and ``agent_pid`` are torchrun's. ``xids``: each GPU's errors since the attempt
    began; ``oom``: the processes that the kernel killed for lack of memory since then.
    ``shm_free_bytes``: the room in /dev/shm after the crash. ``threads_refused``: a limit refused
    it processes or threads, or leaves too few.
    ``reaper_killed``: gpuops' own process above torchrun recorded no exit; ``left`` names the
    processes that outlast the attempt.
    """

    returncode: int
    ranks: tuple[RankEnd, ...] = ()
    xids: Mapping[int, tuple[Xid, ...]] = field(default_factory=dict)
    oom: OomKills = field(default_factory=OomKills)
    agent_pid: int | None = None
    agent_tail: str = ""
    shm_free_bytes: int | None = None
    threads_refused: bool = False
    reaper_killed: bool = False
    left: str = ""


def diagnose_crash(crash: Crash) -> Diagnosis:
    """Find what ended the job: the earliest failure that no other one explains."""
    shm_full = crash.shm_free_bytes is not None and crash.shm_free_bytes < MIB
    ends = (
        classify_end(
            end,
            host_oom=crash.oom.killed(end.pid),
            shm_full=shm_full,
            threads_refused=crash.threads_refused,
        )
        for end in crash.ranks
    )
    failed = [found for found in ends if found is not None]
    causes = [found for found in failed if not found.consequence]
    if (lost := _lost_gpu(crash)) is not None:
        return lost
    if causes:
        return _diagnosis(_first(causes), failed, crash)
    if (launcher := _launcher(crash)) is not None:
        return launcher
    if waiting := [found for found in failed if found.kind != "signal"]:
        return _peers(_first(waiting), failed, crash)
    if failed:
        return _because("signal", f"the job {_first(failed).why} from outside")
    why = f"torchrun ended with code {crash.returncode}, and no rank reported why"
    evidence = last_lines(crash.agent_tail)
    return _because("unknown", why, sure=False, evidence=evidence)


def _first(failing: Sequence[RankFailure]) -> RankFailure:
    """The earliest; of those in the same second the one that torchrun saw first."""
    return min(failing, key=lambda f: math.inf if f.end.ended_at is None else f.end.ended_at)


def _lost_gpu(crash: Crash) -> Diagnosis | None:
    """A GPU that the driver has lost explains whatever its rank reported."""
    ours = {end.gpu: end for end in crash.ranks if end.gpu is not None}
    for gpu, xids in sorted(crash.xids.items()):
        end = ours.get(gpu)
        if end is None and ours:
            continue
        lost = diagnose_xids(gpu, xids, end.rank if end else None, end.pid if end else None)
        if lost is not None:
            return lost
    return None


def _launcher(crash: Crash) -> Diagnosis | None:
    """What happened to torchrun itself, if no rank failed on its own."""
    words = parse_stderr(crash.agent_tail)
    evidence = last_lines(crash.agent_tail)
    reports = "ChildFailedError" in crash.agent_tail  # of its ranks: not its own words
    symptom = None if reports else find_symptom(words)
    if symptom is not None and not symptom.peer:
        why = f"torchrun {symptom.why}: {shorten(words.message)}"
        return _because(symptom.kind, why, evidence=evidence, advice=symptom.advice)
    if crash.returncode == -signals.SIGKILL and crash.oom.killed(crash.agent_pid):
        why = "torchrun itself was killed by the kernel (SIGKILL): out of host memory"
        kills = crash.oom.log_lines(crash.agent_pid)
        return _because("out of memory (host)", why, evidence=(*evidence, *kills))
    if crash.returncode < 0:
        name = signal_name(crash.returncode)
        who, others = "torchrun itself", "its ranks"
        if crash.reaper_killed:
            who, others = "gpuops' reaper above torchrun", "the rest of the job"
        then = f"{crash.left} cannot be ended" if crash.left else f"{others} after it"
        why = f"{who} was ended by {name}, and {then}"
        return _because("signal", why, evidence=evidence)
    if words.type is not None and words.type.endswith("SignalException"):
        return _because("signal", f"torchrun was ended: {shorten(words.message)}")
    if not reports and (words.type is not None or crash.returncode in CANNOT_RUN):
        how = "raised" if words.type else f"ended with exit code {crash.returncode}:"
        why = f"torchrun {how} {shorten(words.message)}"
        return _because("exception", why, evidence=evidence)
    return None


def _peers(first: RankFailure, failed: Sequence[RankFailure], crash: Crash) -> Diagnosis:
    """Only consequences are known: if a single rank reported none, it is the suspect."""
    complained = {found.end.rank for found in failed if found.kind != "signal"}
    silent = [end for end in crash.ranks if end.rank not in complained]
    one = silent[0] if len(silent) == 1 else None
    missing = f"; rank {one.rank} did not report this" if one else ""
    why = f"rank {first.end.rank} {first.why}{missing}"
    evidence = _evidence(first, failed, crash)
    return _because(first.kind, why, end=one, advice=first.advice, evidence=evidence, sure=False)


def _diagnosis(cause: RankFailure, failed: Sequence[RankFailure], crash: Crash) -> Diagnosis:
    end, place = cause.end, cause.words.place
    named = _NAN_ON.search(cause.words.message) if cause.kind == "nan" else None
    if named is not None:  # all ranks report the same value, on one of them
        number = int(named[1])
        known = (found.end for found in failed if found.end.rank == number)
        end = next(known, RankEnd(rank=number))
    why = f"rank {end.rank} {cause.why}{f' at {place.spot}' if place else ''}"
    evidence = _evidence(cause, failed, crash)
    found = _because(
        cause.kind, why, end=end, advice=cause.advice, evidence=evidence, sure=cause.sure
    )
    return replace(found, place=place.place if place else None)


def _evidence(first: RankFailure, failed: Sequence[RankFailure], crash: Crash) -> tuple[str, ...]:
    """Its last lines, the kernel's records of it, and one line about each other failed rank."""
    gpu = () if first.end.gpu is None else crash.xids.get(first.end.gpu, ())
    others = [
        f"rank {found.end.rank} {found.why}{' (a consequence)' if found.consequence else ''}"
        for found in failed
        if found is not first
    ]
    return (
        *last_lines(first.end.stderr_tail),
        *crash.oom.log_lines(first.end.pid),
        *(crash.oom.group_lines if first.kind == "signal" else ()),
        *map(describe_xid, gpu),
        *others,
    )


def _because(
    kind: Kind,
    why: str,
    *,
    end: RankEnd | None = None,
    advice: str = "",
    evidence: Sequence[str] = (),
    sure: bool = True,
) -> Diagnosis:
    return Diagnosis(
        kind=kind,
        rank=end.rank if end else None,
        pid=end.pid if end else None,
        gpu=end.gpu if end else None,
        why=why,
        advice=advice or ADVICE[kind],
        evidence=tuple(evidence),
        sure=sure,
    )
