"""Which rank blocks the others: the ranks' stacks vote, and a disagreement is reported.

From outside all hung jobs look alike. Their stacks differ: the waiting ranks are in a collective,
and the culprit is elsewhere, is stopped, or has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gpuops.core.diagnosis.rank_state import (
    RankState,
    describe_group,
    describe_rank,
    format_ranks,
    groups,
    rank_states,
)
from gpuops.core.diagnosis.stack import Stack
from gpuops.core.hang.observation import RankVitals
from gpuops.heartbeat import Beat

HangKind = Literal[
    "rank stopped", "stuck in I/O", "python spin", "data loader starved", "collective mismatch",
    "peer died", "unknown",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Ranks at the same place. ``frames_key`` is the path to it, the outermost call first."""

    frames_key: tuple[str, ...]
    ranks: tuple[int, ...]
    place: str
    waits_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """What blocks the job; ``rank`` is ``None`` if it is not a single rank, or not known.

    ``agree`` of the ``of`` other ranks wait for it. If it is not ``sure``, it is a guess.
    """

    kind: HangKind
    rank: int | None
    sure: bool
    why: str
    pid: int | None = None
    place: str | None = None
    agree: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """What the stacks show. ``moved``: the ranks that were elsewhere in the first sample.

    ``evidence`` has a line for each rank.
    """

    culprit: Culprit
    groups: tuple[Group, ...]
    moved: tuple[int, ...]
    evidence: tuple[str, ...]

    @property
    def standstill(self) -> bool:
        """Whether no rank moves except the culprit, which may run in a loop."""
        return all(rank == self.culprit.rank for rank in self.moved)


def find_culprit(
    before: Sequence[Stack],
    after: Sequence[Stack],
    vitals_before: Sequence[RankVitals] = (),
    vitals_after: Sequence[RankVitals] = (),
    beats: Sequence[Beat] = (),
) -> Attribution:
    """Find the rank that blocks the others, from two samples of all ranks."""
    ranks = rank_states(before, after, vitals_before, vitals_after, beats)
    alive = [rank for rank in ranks if not rank.gone]
    by_rule = next(filter(None, (rule(alive) for rule in _RULES)), None)
    return Attribution(
        culprit=_gone(ranks) or by_rule or _undecided(alive),
        groups=tuple(map(_group, groups(ranks))),
        moved=tuple(rank.rank for rank in ranks if rank.moved),
        evidence=tuple(map(describe_rank, ranks)),
    )


def _group(ranks: Sequence[RankState]) -> Group:
    first = ranks[0]
    return Group(
        frames_key=tuple(frame.place for frame in first.frames),
        ranks=tuple(rank.rank for rank in ranks),
        place=first.place.place if first.place else "",
        waits_for=first.wait.name if first.wait else None,
    )


def _gone(ranks: Sequence[RankState]) -> Culprit | None:
    """Ranks that have ended, if the others wait for them (or none is left)."""
    gone = [rank for rank in ranks if rank.gone]
    alive = [rank for rank in ranks if not rank.gone]
    if not gone or (alive and not any(rank.waits for rank in alive)):
        return None
    return _fact("peer died", gone, ranks, "has ended", sure=not any(map(_stands_apart, alive)))


def _stopped(ranks: Sequence[RankState]) -> Culprit | None:
    """Stopped ranks, wherever they are."""
    stopped = [rank for rank in ranks if rank.state in {"T", "t"}]
    debugged = bool(stopped) and all(rank.state == "t" for rank in stopped)
    how = "is held by a debugger (state t)" if debugged else "is stopped (state T)"
    return _fact("rank stopped", stopped, ranks, how, sure=True) if stopped else None


def _stuck(ranks: Sequence[RankState]) -> Culprit | None:
    """Ranks that the kernel keeps waiting (state D): they cannot even be ended."""
    stuck = [rank for rank in ranks if rank.stuck]
    if not stuck:
        return None
    rivals = [rank for rank in ranks if _stands_apart(rank) and rank not in stuck]
    how = "is stuck in the kernel (state D), as by a disk or driver that does not answer"
    return _fact("stuck in I/O", stuck, ranks, how, sure=not rivals)


def _fact(
    kind: HangKind, found: Sequence[RankState], ranks: Sequence[RankState], how: str, *, sure: bool
) -> Culprit:
    others = [rank for rank in ranks if rank not in found]
    waiting = [rank for rank in others if rank.waits]
    if len(found) > 1:
        how = how.replace("is ", "are ", 1).replace("has ", "have ", 1)
    at = found[0].at if len({rank.key for rank in found}) == 1 else ""
    why = _sentence(f"{format_ranks(found)} {how}{at}", waiting)
    return _culprit(kind, _only(found), why, agree=len(waiting), of=len(others), sure=sure)


def _culprit(
    kind: HangKind, one: RankState | None, why: str, *, agree: int, of: int, sure: bool
) -> Culprit:
    return Culprit(
        kind=kind,
        rank=one.rank if one else None,
        sure=sure,
        why=why,
        pid=one.pid if one else None,
        place=one.place.place if one and one.place else None,
        agree=agree,
        of=of,
    )


def _elsewhere(ranks: Sequence[RankState]) -> Culprit | None:
    """The others wait in a collective that the culprit has not reached."""
    waiting = [rank for rank in ranks if rank.waits]
    missing = [rank for rank in ranks if _stands_apart(rank)]
    unread = [rank for rank in ranks if not rank.frames]
    suspects = missing or unread
    if not waiting or not suspects:
        return None
    still = [rank for rank in suspects if not rank.moved]
    one = _only(suspects) or _only(still) or _only(_behind(suspects)) or _only(_busy(suspects))
    if one is None and len(suspects) >= len(waiting):
        return None
    one = one or suspects[0]
    alone = missing == [one] and not unread
    # A native call shows no frames: it may wait for the other ranks after all.
    clear = one.busy or (one.legible and not one.computes and not one.moved)
    still_stand = not any(rank.moved for rank in waiting)
    return _vote(one, waiting, ranks, sure=alone and clear and still_stand)


def _odd_one_out(ranks: Sequence[RankState]) -> Culprit | None:
    """All wait, or none does, at different places: the rank that is not with the majority."""
    found = groups(ranks)
    if len(found) < 2 or len(found[0]) == len(found[1]):
        return _of_two(ranks, found) if len(ranks) == len(found) == 2 else None
    most, rest = found[0], [rank for group in found[1:] for rank in group]
    one = _only(rest) or _only(_busy(rest)) or _only(found[-1] if len(found[-2]) > 1 else rest)
    if one is None or one.waits != most[0].waits:
        return None
    whole = len(most) + 1 == len(ranks) and not any(rank.moved for rank in ranks)
    clear = one.waits or (one.busy and not most[0].busy)
    return _vote(one, most, ranks, sure=whole and clear)


def _of_two(ranks: Sequence[RankState], found: Sequence[Sequence[RankState]]) -> Culprit | None:
    """Two ranks at two places: always a guess."""
    one = _only(_busy(ranks))
    if one is None and all(rank.waits for rank in ranks):
        # Each is in another collective: the one further on has more likely skipped one.
        one = max(ranks, key=lambda rank: (rank.step or 0, [frame.line for frame in rank.frames]))
    if one is None:
        return None
    return _vote(one, [group[0] for group in found if group[0] is not one], ranks, sure=False)


def _alone_at_work(ranks: Sequence[RankState]) -> Culprit | None:
    """All are in a collective, but one of them still computes."""
    working = [rank for rank in ranks if rank.computes]
    idle = [rank for rank in ranks if not rank.computes]
    if len(working) != 1 or not idle or not all(rank.waits for rank in ranks):
        return None
    return _vote(working[0], idle, ranks, sure=False)


_RULES = (_stopped, _stuck, _elsewhere, _odd_one_out, _alone_at_work)


def _undecided(ranks: Sequence[RankState]) -> Culprit:
    """No rank differs; if all wait for the same thing outside the job, that is the cause."""
    others, first = max(0, len(ranks) - 1), ranks[0] if ranks else None
    if first is not None and first.wait is not None and not first.waits:
        kind: HangKind = "data loader starved" if first.wait.kind == "data" else "stuck in I/O"
        if all(rank.wait == first.wait for rank in ranks):
            why = f"{format_ranks(ranks)} all wait for {first.wait.name}{first.at}"
            if len(ranks) == 1:
                return _vote(first, (), ranks, sure=True)
            return Culprit(kind=kind, rank=None, sure=True, why=why, agree=others, of=others)
    if len(ranks) == 1 and first is not None and first.frames and not first.waits:
        return _vote(first, (), ranks, sure=first.busy)
    seen = "; ".join(map(describe_group, groups(ranks)))
    why = f"undecided, no rank stands out: {seen}" if seen else "no rank's stack could be read"
    return Culprit(kind="unknown", rank=None, sure=False, why=why, of=others)


def _vote(
    one: RankState, others: Sequence[RankState], ranks: Sequence[RankState], *, sure: bool
) -> Culprit:
    kind, does = _activity(one, others)
    why, of = _sentence(does, others), len(ranks) - 1
    return _culprit(kind, one, why, agree=len(others), of=of, sure=sure)


def _activity(one: RankState, others: Sequence[RankState]) -> tuple[HangKind, str]:
    """What the culprit does that blocks the others, as a kind and in words."""
    name = f"rank {one.rank}"
    if not one.frames:
        return "unknown", f"the stack of {name} could not be read ({one.gap or 'no stack'})"
    if one.wait is not None and not one.waits:
        kind: HangKind = "data loader starved" if one.wait.kind == "data" else "stuck in I/O"
        return kind, describe_group([one])
    if one.waits:
        kinds = {rank.wait.kind for rank in (one, *others) if rank.wait is not None}
        if one.key == others[0].key:
            return "unknown", f"{name} still computes{one.at}"
        return "collective mismatch" if kinds == {"ranks"} else "unknown", describe_group([one])
    if one.computes and one.in_python:
        return "python spin", f"{name} computes without end{one.at}"
    return "unknown", f"{name} {'computes' if one.computes else 'stands still'}{one.at}"


def _stands_apart(rank: RankState) -> bool:
    return bool(rank.frames) and not rank.waits


def _only(ranks: Sequence[RankState]) -> RankState | None:
    return ranks[0] if len(ranks) == 1 else None


def _busy(ranks: Sequence[RankState]) -> list[RankState]:
    return [rank for rank in ranks if rank.busy]


def _behind(ranks: Sequence[RankState]) -> list[RankState]:
    """The ranks with the lowest step, if the steps of all are known."""
    steps = [rank.step for rank in ranks if rank.step is not None]
    known = bool(steps) and len(steps) == len(ranks)
    return [rank for rank in ranks if rank.step == min(steps)] if known else []


def _sentence(does: str, others: Sequence[RankState]) -> str:
    rest = ", ".join(map(describe_group, groups(others)))
    return f"{does}, while {rest}" if rest else does
