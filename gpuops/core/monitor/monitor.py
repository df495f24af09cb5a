"""The monitor's memory: ``follow(monitor, sample)``, and ``board`` of what it has come to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from gpuops.core.monitor import changes as happenings
from gpuops.core.monitor import job_rows
from gpuops.core.monitor.advice import advice
from gpuops.core.monitor.frame import Board, CardRow, Happening, Health, JobRow, StrangerRow
from gpuops.core.monitor.gpu_rows import card_rows
from gpuops.core.monitor.job_rows import Followed
from gpuops.core.monitor.sample import Sample
from gpuops.errors import UsageError

REMEMBERED = 200
ILL = {"lost", "stuck", "unreadable", "no permission"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """All that is remembered between two looks. ``interval_s``: how far apart they are meant."""

    interval_s: float = 2.0
    sample: Sample | None = None
    since_s: float = 0.0
    cards: tuple[CardRow, ...] = ()
    jobs: Mapping[tuple[object, ...], Followed] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()


def follow(monitor: Monitor, sample: Sample) -> Monitor:
    """Take in one look."""
    before = monitor.sample
    passed_s = sample.clock_s - before.clock_s if before is not None else 0.0
    cards = card_rows(sample.box, sample.jobs, monitor.cards, passed_s, sample.between)
    jobs = {
        job.key: _patient(
            job_rows.follow(job, monitor.jobs.get(job.key), cards, sample.at_s, sample.clock_s),
            monitor.interval_s,
        )
        for job in sample.jobs
    }
    since_s = monitor.since_s or sample.at_s
    new: Iterable[Happening] = happenings.of_events(sample, since_s)
    if before is not None:
        was, now = ([one.row for one in rows.values()] for rows in (monitor.jobs, jobs))
        new = chain(
            happenings.of_cards(monitor.cards, cards, sample.at_s),
            happenings.of_xids(sample.box, before.at_s),
            new,
            happenings.of_jobs(was, now, sample),
        )
    return replace(
        monitor,
        sample=sample,
        since_s=since_s,
        cards=cards,
        jobs=jobs,
        happenings=(*monitor.happenings, *new)[-REMEMBERED:],
    )


def board(monitor: Monitor) -> Board:
    """What is to be shown now.

    Raises:
        ValueError: nothing has been looked at yet.
    """
    sample = monitor.sample
    if sample is None:
        raise ValueError("no look was taken yet")
    jobs = tuple(one.row for one in monitor.jobs.values())
    box = sample.box
    return _judged(
        Board(
            at_s=sample.at_s,
            driver=box.driver,
            cuda=box.cuda,
            cards=monitor.cards,
            jobs=jobs,
            strangers=_strangers(sample),
            happenings=monitor.happenings,
            advice=advice(jobs, monitor.cards),
            gaps=box.gaps,
            absent=box.absent,
        )
    )


def only(whole: Board, *, gpus: Sequence[str] = (), run: Collection[str] | None = None) -> Board:
    """The part of a board that somebody wants: some cards or those of a run, and who is there.

    ``run`` are the names of the run's folder: a folder may have several.

    Raises:
        UsageError: a card is asked for that is not there.
    """
    cards, jobs = whole.cards, whole.jobs
    if run is not None:
        jobs = tuple(job for job in jobs if job.run_dir in run)
        held = {index for job in jobs for index in _on(job)}
        cards = tuple(card for card in cards if card.index in held)
    if gpus:
        known = "gpus" not in whole.gaps or whole.absent  # else nobody can say which are there
        chosen = {index for one in gpus for index in _selected(whole.cards, one, known=known)}
        cards = tuple(card for card in cards if card.index in chosen)
        jobs = tuple(job for job in jobs if _on(job) & chosen)
    shown, names = {card.index for card in cards}, {job.name for job in jobs}
    part = replace(
        whole,
        cards=cards,
        jobs=jobs,
        strangers=tuple(one for one in whole.strangers if one.gpu in shown),
        happenings=tuple(
            one
            for one in whole.happenings
            if one.gpu in shown or (one.job is not None and (run is None or one.job in run))
        ),
        advice=tuple(one for one in whole.advice if run is None or one.about in names),
    )
    return _judged(part)


def _on(job: JobRow) -> set[int]:
    """The cards of its ranks."""
    return {index for rank in job.ranks for index in rank.gpus}


def _selected(cards: Sequence[CardRow], selector: str, *, known: bool) -> list[int]:
    found = [
        card.index
        for card in cards
        if selector in {str(card.index), card.uuid}
        or (len(selector) > 3 and (card.uuid or "").lower().startswith(selector.lower()))
    ]
    if not found and known:
        there = ", ".join(str(card.index) for card in cards) or "none"
        raise UsageError(
            f"no GPU is called {selector} here; there is {there}.", "`gpuops gpus` lists them."
        )
    return found


def _patient(one: Followed, interval_s: float) -> Followed:
    """Between two looks so much time may pass as they are apart, and not the machine's sleep."""
    return replace(one, watch=replace(one.watch, most_s=max(2.0, 1.5 * interval_s)))


def _strangers(sample: Sample) -> tuple[StrangerRow, ...]:
    known = {process.pid for job in sample.jobs for process in job.job.processes if job.job.ours}
    return tuple(
        StrangerRow(
            gpu=device.index,
            pid=process.pid,
            user=process.user,
            command=process.command,
            memory_bytes=process.memory_bytes,
            started_at_s=process.started_at_s,
            whose=process.whose,
        )
        for device in sample.box.devices
        for process in device.processes or ()
        if process.pid not in known
    )


def _tells(reason: str) -> bool:
    """Whether a slow card is an ill one: at the limit of its power many work all day."""
    return reason.startswith(("remap", "heat", "NVLink"))


def _judged(one: Board) -> Board:
    """With the worst that is known, in one word."""
    return replace(one, health=_health(one))


def _health(one: Board) -> Health:
    if any(job.standing == "hung" for job in one.jobs):
        return "hung"
    if "gpus" in one.gaps and not one.absent:
        return "no driver"
    ill = any(card.state in ILL or any(map(_tells, card.slow)) for card in one.cards)
    odd = any(
        job.standing == "suspect" or (job.ours and job.supervised is False) for job in one.jobs
    )
    return "degraded" if ill or odd else "fine"
