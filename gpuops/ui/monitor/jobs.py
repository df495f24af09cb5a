"""The jobs on the monitor: a head, the health and the ranks of each, the culprits first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.text import Text

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import JobRow, RankRow
from gpuops.core.run.record import describe_stopped
from gpuops.text import many
from gpuops.ui import words
from gpuops.ui.monitor import grid
from gpuops.ui.monitor.grid import DIM, Cell, clean
from gpuops.ui.monitor.rows import BAD, JOB_HEALTH, OURS, RANKS, WARM, rank

TROUBLED = ("hung", "suspect", "blind")
LOUDNESS = (*TROUBLED, "starting", "healthy", "left alone")
LINES_AN_EVIDENCE = 8  # if ranks are hidden: one line of evidence per so many lines
HANGING_FROM = 40
TOTAL_FROM = 32  # columns; below, a step goes without its total
EVIDENCE_LIMITS = (None, 6, 4, 3, 2, 1)  # lines; the first at which all ranks fit


def in_order(frame: Frame) -> list[JobRow]:
    """The jobs in the order of the screen: those in trouble first."""
    return sorted(frame.jobs, key=lambda job: LOUDNESS.index(job.health))


def key(job: JobRow) -> str:
    """The key by which a selection remembers a job."""
    return job.run_dir or job.name  # a selection outlasts a restart


def chosen(frame: Frame, selected: str | None) -> JobRow | None:
    """The selected job, or the first."""
    shown = in_order(frame)
    return next((job for job in shown if key(job) == selected), shown[0] if shown else None)


def wanted(frame: Frame) -> int:
    """How many lines all jobs need, with a minimum of evidence."""
    ranks = sum(len(job.ranks) for job in frame.jobs)
    heads = sum(1 + bool(job.why or job.diagnosis) for job in frame.jobs)
    return bool(ranks) + ranks + heads


class Jobs:
    """The lines of all jobs in ``room`` lines (``None``: as many as needed).

    ``scroll``: how many of the selected job's ranks are skipped at the top, ``most_scroll`` the
    maximum. ``piped``: there is no selection, and every row names its run.
    """

    def __init__(
        self,
        frame: Frame,
        *,
        width: int,
        room: int | None,
        selected: str | None = None,
        scroll: int = 0,
        by_age: bool = False,
        piped: bool = False,
    ) -> None:
        self._frame, self._width, self._piped = frame, width, piped
        self._jobs = in_order(frame)
        self._chosen = chosen(frame, selected)
        self._ranks = [_sorted(job.ranks, by_age=by_age) for job in self._jobs]
        self._culprits = [_culprits(job) for job in self._jobs]
        self._scroll = scroll
        self.most_scroll = 0
        whole = self._whole(room)
        self.lines = self._squeezed(room or 0) if whole is None else whole

    def _whole(self, room: int | None) -> list[Text] | None:
        """All ranks, with as much evidence as fits; ``None``: they do not fit."""
        ranks = sum(map(len, self._ranks))
        for limit in EVIDENCE_LIMITS:
            heads = [self._head(job, limit) for job in self._jobs]
            if room is None or bool(ranks) + ranks + sum(map(len, heads)) <= room:
                return self._composed(range(len(heads)), heads, self._ranks, {})
        return None

    def _squeezed(self, room: int) -> list[Text]:
        """The most important rows, and how many are hidden."""
        jobs, every = self._jobs, range(len(self._jobs))
        heads = [self._head(job, max(1, room // LINES_AN_EVIDENCE)) for job in jobs]
        needs = [len(head) + bool(ranks) for head, ranks in zip(heads, self._ranks, strict=True)]
        taken = self._taken(needs, room)
        hidden = [jobs[i] for i in every if i not in taken]
        left = room - sum(needs[i] for i in taken) - bool(hidden)
        shown = dict.fromkeys(taken, 0)
        if left > 0:
            left -= 1  # the names of the columns
            for want in (lambda i: len(self._culprits[i]), lambda i: len(self._ranks[i])):
                left = self._deal(shown, left, want)
        rows, sums = [list[RankRow]() for _ in every], {}
        for i in taken:
            rows[i], rest = self._window(i, shown[i])
            if rest:
                sums[i] = _summary(rest, len(self._ranks[i]))
        lines = self._composed(sorted(taken), heads, rows, sums)
        return [*lines, *([_more(hidden, self._width)] if hidden else [])][: max(room, 0)]

    def _taken(self, needs: Sequence[int], room: int) -> list[int]:
        """The jobs that fit: those in trouble first, then the selected one."""
        jobs = self._jobs
        first = sorted(
            range(len(jobs)),
            key=lambda i: (jobs[i].health not in TROUBLED, jobs[i] is not self._chosen),
        )
        taken: list[int] = []
        left = room
        for i in first:
            others = len(taken) + 1 < len(jobs)  # a line says how many are hidden
            if left < needs[i] + (others and bool(taken)):
                break
            taken.append(i)
            left -= needs[i]
        # The names of the columns, and a rank of each that is in trouble, before what is well.
        culprit = sum(bool(self._culprits[i]) for i in taken)
        while culprit and left - (len(taken) < len(jobs)) < 1 + culprit and len(taken) > 1:
            last = jobs[taken[-1]]
            if last.health in TROUBLED or last is self._chosen:
                break
            left += needs[taken.pop()]
        return taken

    def _deal(self, shown: dict[int, int], left: int, want: Callable[[int], int]) -> int:
        """Give rows to the jobs in turn; return the rest. The last rank replaces the summary."""
        for i, so_far in shown.items():
            ranks = len(self._ranks[i])
            rows = min(want(i), so_far + left)
            if rows == ranks - 1:
                rows = ranks
            if rows > so_far:
                shown[i] = rows
                left -= rows - so_far - (rows == ranks)
        return left

    def _window(self, i: int, rows: int) -> tuple[list[RankRow], list[RankRow]]:
        """The shown and the hidden ranks of a job."""
        ranks, culprit = self._ranks[i], self._culprits[i]
        if rows >= len(ranks):
            return list(ranks), []
        pinned = culprit[:rows]
        others = [row for row in ranks if row not in pinned]
        begin, room = 0, rows - len(pinned)
        if self._jobs[i] is self._chosen:
            self.most_scroll = len(others) - room if room else 0
            begin = min(self._scroll, self.most_scroll)
        seen = others[begin : begin + room]
        return [*pinned, *seen], [*others[:begin], *others[begin + room :]]

    def _composed(
        self,
        taken: Iterable[int],
        heads: Sequence[Sequence[Text]],
        ranks: Sequence[Sequence[RankRow]],
        sums: dict[int, str],
    ) -> list[Text]:
        width, run = self._width, self._piped
        total = width >= TOTAL_FROM
        cells = {
            i: [rank(row, self._jobs[i], run=run, total=total) for row in ranks[i]] for i in taken
        }
        widths = grid.fitted(RANKS, [row for rows in cells.values() for row in rows], width)
        lines = [grid.heads(RANKS, widths, width)] if any(cells.values()) else []
        for i, rows in cells.items():
            lines += heads[i]
            lines += [grid.line(RANKS, widths, row, width) for row in rows]
            if i in sums:
                lines.append(grid.trimmed([(f"  {sums[i]}", DIM)], width))
        return lines

    def _head(self, job: JobRow, limit: int | None) -> list[Text]:
        """The job's head line; below, in at most ``limit`` lines, its health and evidence."""
        selected = len(self._jobs) > 1 and job is self._chosen and not self._piped
        health, style = JOB_HEALTH[job.health]
        pieces: list[Cell] = [("▸ " if selected else "  ", "bold"), (clean(job.name), "bold")]
        if not job.why:
            pieces += [("  ", ""), (health, style)]
        pieces += [(f" · {part}", DIM) for part in _describe_job(job, self._frame.at_s)]
        stopped = describe_stopped(job.supervisor_stopped)
        if job.supervised is False and not stopped:
            pieces.append((" · unsupervised", WARM))
        lines = [grid.trimmed(pieces, self._width)]
        if stopped:  # a line of its own: the command in it must not be cut
            word, _, rest = stopped.partition(" ")
            lines += _evidence((word, WARM), rest, "", self._width, limit)
        loud = "bold" if job.health in TROUBLED else DIM
        if job.why:
            kept = None if limit is None else max(1, limit - bool(job.diagnosis))
            lines += _evidence((health, style), job.why, loud, self._width, kept)
        if job.diagnosis and (limit is None or limit > 1 or not job.why):
            kept = None if limit is None else max(1, limit - (len(lines) - 1))
            lines += _evidence(("found:", "bold"), job.diagnosis, "", self._width, kept)
        return lines


def _evidence(badge: Cell, sentence: str, style: str, width: int, limit: int | None) -> list[Text]:
    """``HUNG? rank 3: …``, broken under its first word, or under the badge if room is short."""
    label = len(badge[0]) + 3
    indent = label if width >= HANGING_FROM else 2
    broken = grid.wrapped(clean(sentence), width - indent, label - indent)
    if limit is not None and len(broken) > limit:
        broken = [*broken[: limit - 1], " ".join(broken[limit - 1 :])]
    first, *rest = broken
    lines = [[("  ", ""), badge, (" ", ""), (first, style)]]
    lines += [[(" " * indent, ""), (line, style)] for line in rest]
    return [grid.trimmed(line, width) for line in lines]


def _describe_job(job: JobRow, now_s: float) -> list[str]:
    attempt = f"attempt {job.attempt}" if (job.attempt or 1) > 1 else None
    ran = None if job.started_at_s is None else words.brief(now_s - job.started_at_s)
    parts = [job.target, job.profile, attempt, job.user, ran]
    return [clean(part) for part in parts if part]


def _sorted(ranks: Sequence[RankRow], *, by_age: bool) -> list[RankRow]:
    if by_age:
        return sorted(ranks, key=lambda row: -(row.progress_age_s or 0.0))
    return sorted(ranks, key=lambda row: -1 if row.rank is None else row.rank)


def _culprits(job: JobRow) -> list[RankRow]:
    """The ranks that cause the trouble: named culprit, stopped ones, or those furthest behind."""
    if job.health not in TROUBLED:
        return []
    found = [row for row in job.ranks if row.culprit or row.process in {"T", "Z", "X"}]
    steps = [row.step for row in job.ranks if row.step is not None]
    if found or not steps:
        return found
    behind = [row for row in job.ranks if row.step == min(steps)]
    return behind if 2 * len(behind) <= len(job.ranks) else []


def _summary(hidden: Sequence[RankRow], count: int) -> str:
    """``… 55 more of 64 ranks: step 812-813, 1.8-2.0/s, moved within 2.1s``."""
    head = f"… {len(hidden)} more of {count} ranks" if len(hidden) < count else many(count, "rank")
    parts = []
    if steps := [row.step for row in hidden if row.step is not None]:
        parts.append(f"step {_span(str(min(steps)), str(max(steps)))}")
    if speeds := [row.steps_per_s for row in hidden if row.steps_per_s is not None]:
        parts.append(f"{_span(f'{min(speeds):.2g}', f'{max(speeds):.2g}')}/s")
    if ages := [row.progress_age_s for row in hidden if row.progress_age_s is not None]:
        parts.append(f"moved within {words.brief(max(ages), tenths=True)}")
    return f"{head}: {', '.join(parts)}" if parts else head


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


def _more(hidden: Sequence[JobRow], width: int) -> Text:
    pieces: list[Cell] = [(f"  … {many(len(hidden), 'more run')}", OURS)]
    if loud := sum(job.health in TROUBLED for job in hidden):
        pieces.append((f", {loud} of them in trouble", BAD))
    return grid.trimmed(pieces, width)
