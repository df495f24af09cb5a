"""One look after the other at cards and jobs, in a thread of its own: a stuck driver stalls nobody.

``cards and jobs -> core.sample.Sample -> core.monitor.follow -> Board``; whoever draws takes the
newest board when it likes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuops import heartbeat
from gpuops.core import monitor
from gpuops.core.board import Board
from gpuops.core.hang import Observation
from gpuops.core.jobs import TrainingJob
from gpuops.core.monitor import Monitor
from gpuops.core.run import Status
from gpuops.core.sample import JobSample, RunFacts, Sample
from gpuops.looking import with_claims
from gpuops.system import jobs, nvml, run_dir, run_facts, supervisors, vitals
from gpuops.system.tail import Tail

# A card that is asked for the first time, or a driver that starts, gets as long as that.
WAKE_S = 3.0


class Sampler:
    """Takes the looks, one by one; for one thread alone."""

    def __init__(self, interval_s: float, *, patient: bool = False) -> None:
        """``patient``: give a driver and its cards all the time that they may need to wake."""
        start_s = nvml.START_TIMEOUT_S if patient else WAKE_S
        self._cards = nvml.Reader(start_timeout_s=start_s)
        self._answer_s = nvml.READ_TIMEOUT_S if patient else min(1.0, interval_s / 2)
        self._expected = nvml.on_the_bus()
        self._census = jobs.Census()
        self._books: dict[str, _Book] = {}
        self._monitor = Monitor(interval_s=interval_s)

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._cards.close()
        for book in self._books.values():
            book.close()

    def look(self) -> Board:
        """Look at everything now, and say what it has come to."""
        box = with_claims(self._cards.read(self._answer_s))
        if box.absent and self._expected:  # its driver has gone: that is not to look well
            box = replace(box, absent=False)
        found = [self._job(job) for job in self._census.jobs(box)]
        sample = Sample(
            at_s=time.time(),
            clock_s=time.monotonic(),
            box=box,
            jobs=tuple(found),
            ended=self._ended({job.job.run_dir for job in found}),
        )
        self._monitor = monitor.follow(self._monitor, sample)
        return monitor.board(self._monitor)

    def _job(self, job: TrainingJob) -> JobSample:
        """Into our own jobs it looks; others' are theirs."""
        if not job.ours:
            return JobSample(job=job)
        ranks = [(p.rank, jobs.identity(p)) for p in job.ranks if p.rank is not None]
        book = self._book(job)
        beats = book.beats() if book is not None else ()
        seen = Observation(
            now_s=time.monotonic(),
            beats=tuple(beat for beat in beats if beat.rank in dict(ranks)),
            vitals=vitals.read(ranks),
            log_bytes=book.log_bytes() if book is not None and not beats else None,
        )
        if book is None:
            return JobSample(job=job, seen=seen)
        return JobSample(
            job=job,
            seen=seen,
            facts=book.facts,
            supervised=supervisors.of(book.root) is not None,
            noted=book.noted(),
        )

    def _book(self, job: TrainingJob) -> _Book | None:
        if job.run_dir is None:
            return None
        book = self._books.get(job.run_dir)
        if book is None or book.attempt != job.attempt:
            if book is not None:
                book.close()
            book = self._books[job.run_dir] = _Book(Path(job.run_dir), job.attempt)
        return book

    def _ended(self, living: set[str | None]) -> dict[str, Status]:
        """How those ended that have gone."""
        ended: dict[str, Status] = {}
        for path in [path for path in self._books if path not in living]:
            self._books.pop(path).close()
            record = run_dir.load(Path(path))
            if record is not None:
                ended[path] = record.status
        return ended


class _Book:
    """The folder of a run while it runs. It may be deleted under it: then it says nothing."""

    def __init__(self, root: Path, attempt: int | None) -> None:
        self.root, self.attempt = root, attempt
        self.facts: RunFacts = run_facts.read(root)
        self._beats = root / "state" / f"attempt-{attempt}" / "beats"
        self._events = Tail(root / "events.jsonl")
        self._logs: vitals.FolderSize | None = None

    def beats(self) -> list[heartbeat.Beat]:
        return heartbeat.read_all(self._beats)

    def noted(self) -> tuple[dict[str, Any], ...]:
        """The events since the last look."""
        return tuple(run_dir.parse_json_lines(self._events.lines()))

    def log_bytes(self) -> int | None:
        """How much it has logged; measured only of jobs that do not beat."""
        if self._logs is None:
            self._logs = vitals.FolderSize(self.root / "logs" / f"attempt-{self.attempt}")
        return self._logs.bytes

    def close(self) -> None:
        if self._logs is not None:
            self._logs.__exit__()


class Looks:
    """A sampler at work in a thread of its own, every ``interval_s``; ``part`` of what it sees."""

    def __init__(
        self, interval_s: float, part: Callable[[Board], Board] = lambda board: board
    ) -> None:
        self._interval_s, self._part = interval_s, part
        self._newest: Board | None = None
        self._failed: BaseException | None = None
        self._closed = threading.Event()
        self._came = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name="looks", daemon=True)
        self._thread.start()

    def __enter__(self) -> Looks:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed.set()  # not waited for long: it may wait for a driver
        self._thread.join(timeout=0.2)

    def fileno(self) -> int:
        """What can be waited for: it becomes readable with each new board."""
        return self._came

    def newest(self) -> Board | None:
        """The newest board; ``None`` before the first.

        Raises:
            BaseException: what the thread ended with: a defect.
        """
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._came)
        if self._failed is not None:
            raise self._failed
        return self._newest

    def _work(self) -> None:
        try:
            with Sampler(self._interval_s) as sampler:
                for _ in self._ticks():
                    self._newest = self._part(sampler.look())
                    os.eventfd_write(self._came, 1)
        except BaseException as defect:  # noqa: BLE001 - whoever draws is to end with it
            self._failed = defect
            os.eventfd_write(self._came, 1)

    def _ticks(self) -> Iterator[None]:
        """The beginning of each look: they keep their distance, however long one takes."""
        due_s = time.monotonic()
        while not self._closed.is_set():
            yield
            due_s += self._interval_s
            late_s = time.monotonic() - due_s
            if late_s > 0:  # those that are overdue are left out
                due_s += late_s // self._interval_s * self._interval_s
            self._closed.wait(max(0.0, due_s - time.monotonic()))
