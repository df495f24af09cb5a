"""The state of a rank from two samples: its frames, its process, its step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from gpuops.core.diagnosis.stack import (
    Frame,
    Stack,
    ThreadStack,
    Wait,
    find_wait,
    is_deep,
    path_to_own,
)
from gpuops.core.hang.observation import RankVitals
from gpuops.heartbeat import Beat
from gpuops.text import plural


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """One rank. ``frames`` is the path that both samples share, the outermost call first.

    ``stuck``: in state D in both samples. ``gone``: its process has ended. ``moved``: it is at
    another place than before. ``computes``: its main thread runs; ``in_python``: it holds the GIL.
    ``legible``: the source line of its innermost call is known, or the call is Python's own.
    """

    rank: int
    pid: int | None = None
    frames: tuple[Frame, ...] = ()
    wait: Wait | None = None
    state: str | None = None
    stuck: bool = False
    gone: bool = False
    moved: bool = False
    computes: bool = False
    in_python: bool = False
    legible: bool = False
    step: int | None = None
    cpu_s: float | None = None
    gap: str | None = None

    @property
    def place(self) -> Frame | None:
        """The innermost line of the user's own code."""
        return self.frames[-1] if self.frames else None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for ranks at the same place that wait for the same thing."""
        return (*((frame.file, frame.line) for frame in self.frames), self.wait)

    @property
    def waits(self) -> bool:
        """Whether it waits for other ranks, according to its frames."""
        return self.wait is not None and self.wait.kind in {"ranks", "gpu"}

    @property
    def busy(self) -> bool:
        """Whether it certainly does not wait for other ranks."""
        return (self.computes and self.in_python) or (self.wait is not None and not self.waits)

    @property
    def at(self) -> str:
        """`` at step (train.py:52)``; empty if that is not known."""
        return f" at {self.place.spot}" if self.place else ""


def rank_states(
    before: Sequence[Stack],
    after: Sequence[Stack],
    vitals_before: Sequence[RankVitals],
    vitals_after: Sequence[RankVitals],
    beats: Sequence[Beat],
) -> list[RankState]:
    """The state of every known rank, in order. A rank without a process counts as gone."""
    first, second = ({s.rank: s for s in stacks} for stacks in (before, after))
    was, now = ({v.rank: v for v in vitals} for vitals in (vitals_before, vitals_after))
    steps = {beat.rank: beat.step for beat in beats}
    return [
        _rank_state(
            rank,
            (first.get(rank), second.get(rank)),
            (was.get(rank), now.get(rank)),
            steps.get(rank),
            watched=bool(now),
        )
        for rank in sorted({*first, *second, *was, *now, *steps})
    ]


def _rank_state(
    rank: int,
    stacks: tuple[Stack | None, Stack | None],
    vitals: tuple[RankVitals | None, RankVitals | None],
    step: int | None,
    *,
    watched: bool,
) -> RankState:
    was, now = vitals
    before, after = (stack.main if stack else None for stack in stacks)
    state = now.state if now else None
    gone = state in {"Z", "X"} or (watched and now is None and after is None)
    frames = after.frames if after and not gone else ()
    inner = frames[0] if frames else None
    kept, moved = _common_frames(before.frames if before else frames, frames)
    used = [vital.cpu_s for vital in (was, now) if vital and vital.cpu_s is not None]
    cpu_s = used[1] - used[0] if len(used) == 2 else None
    active = after.active if after else None
    runs = state == "R" if active is None else active
    return RankState(
        rank=rank,
        pid=next((known.pid for known in (stacks[1], now, stacks[0], was) if known), None),
        frames=kept,
        wait=None if moved else find_wait(frames),
        state=state,
        stuck=state == "D" and (was is None or was.state == "D"),
        gone=gone,
        moved=moved,
        computes=runs and (cpu_s is None or cpu_s > 0),
        in_python=_in_python(before, after),
        legible=inner is not None and (inner.text != "" or (is_deep(inner) and not inner.torch)),
        step=step,
        cpu_s=cpu_s,
        gap=stacks[1].gap if stacks[1] else None,
    )


def _common_frames(
    before: Sequence[Frame], after: Sequence[Frame]
) -> tuple[tuple[Frame, ...], bool]:
    """The path that both samples share, and whether the rank has moved on.

    In the last function the line may differ, as in a loop; but not between two waits.
    """
    then, now = path_to_own(before), path_to_own(after)
    kept: list[Frame] = []
    for old, new in zip(then, now, strict=False):
        if (old.file, old.function) != (new.file, new.function):
            break
        kept.append(new)
        if old.line != new.line:
            waits = find_wait(before) is not None or find_wait(after) is not None
            return tuple(kept), waits or len(kept) < max(len(then), len(now))
    return tuple(kept), len(kept) < max(len(then), len(now))


def _in_python(before: ThreadStack | None, after: ThreadStack | None) -> bool:
    """Whether its main thread holds the GIL; one sample may catch another thread's turn."""
    seen = [thread for thread in (before, after) if thread is not None]
    known = [thread.has_gil for thread in seen if thread.has_gil is not None]
    return any(known) if known else bool(seen) and not is_deep(seen[-1].frames[0])


def groups(ranks: Iterable[RankState]) -> list[list[RankState]]:
    """The ranks with a known place, grouped by place; the largest group first."""
    found: dict[tuple[object, ...], list[RankState]] = {}
    for rank in ranks:
        if rank.frames:
            found.setdefault(rank.key, []).append(rank)
    return sorted(found.values(), key=lambda group: (-len(group), group[0].rank))


def describe_rank(rank: RankState) -> str:
    """One line with all that is known of a rank except its frames."""
    if rank.gone:
        return f"rank {rank.rank}: has ended"
    parts = [
        "" if rank.pid is None else f"PID {rank.pid}",
        f"state {rank.state}" if rank.state else "",
        "" if rank.cpu_s is None else f"{rank.cpu_s:.2f} s of CPU between the samples",
        "" if rank.step is None else f"step {rank.step}",
        "moved between the samples" if rank.moved else "",
        f"no stack: {rank.gap}" if rank.gap else "",
    ]
    return f"rank {rank.rank}: {', '.join(filter(None, parts))}"


def format_ranks(ranks: Sequence[RankState]) -> str:
    """``rank 3``, ``ranks 0-2, 5``."""
    numbers = sorted(rank.rank for rank in ranks)
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    shown = ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)
    return f"{plural(len(numbers), 'rank')} {shown}"


def describe_group(group: Sequence[RankState]) -> str:
    """``ranks 0, 2 wait in all_reduce at average (train.py:29)``, for ranks at one place."""
    first, s = group[0], "s" if len(group) == 1 else ""
    if first.wait is None:
        return f"{format_ranks(group)} stand{s}{first.at}"
    how = "in" if first.wait.kind == "ranks" else "for"
    return f"{format_ranks(group)} wait{s} {how} {first.wait.name}{first.at}"
