"""Samples GPUs and jobs at an interval, in a thread: a stuck driver does not block the screen.

``gpus and jobs -> Sample -> update_monitor -> Frame``; the screen takes the newest frame.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuops.core.hang.observation import Observation
from gpuops.core.monitor.frame import Frame, current_frame
from gpuops.core.monitor.jobs import TrainingJob
from gpuops.core.monitor.monitor import Monitor, update_monitor
from gpuops.core.monitor.sample import JobSample, Sample
from gpuops.core.run import paths
from gpuops.core.run.record import Status
from gpuops.launch.inventory import as_allotted, with_claims
from gpuops.system import files
from gpuops.system.gpus import nvml
from gpuops.system.processes import jobs, visibility, vitals
from gpuops.system.runs import beats as attempt_beats
from gpuops.system.runs import records, run_facts, supervisor_lock
from gpuops.system.tail import Tail

WAKE_S = 3.0  # for the first reading: the driver may have to start and to wake its GPUs


class Sampler(contextlib.AbstractContextManager["Sampler"]):
    """Takes samples, one by one; for a single thread."""

    def __init__(self, interval_s: float, *, patient: bool = False) -> None:
        """``patient``: wait as long as a driver and its GPUs may need to wake."""
        start_s = nvml.START_TIMEOUT_S if patient else WAKE_S
        self._gpus = nvml.Reader(start_timeout_s=start_s)
        self._answer_s = nvml.READ_TIMEOUT_S if patient else min(1.0, interval_s / 2)
        self._expected = nvml.on_the_bus()
        self._census = jobs.Census()
        self._events: dict[str, Tail] = {}  # over all attempts, by the run's folder
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._monitor = Monitor(interval_s=interval_s)

    def __exit__(self, *_exc: object) -> None:
        self._gpus.close()
        for attempt in self._attempts.values():
            attempt.close()

    def sample(self) -> Frame:
        """Take a sample now and return the frame."""
        inventory = as_allotted(with_claims(self._gpus.read_use(self._answer_s)))
        if inventory.absent and self._expected:  # its driver has vanished: not a healthy host
            inventory = replace(inventory, absent=False)
        if (hidden := visibility.hidden()) is not None:
            inventory = replace(inventory, gaps={**inventory.gaps, "processes": hidden})
        jobs_now = self._census.jobs(inventory)
        for job in jobs_now:
            if job.ours and job.run_dir is not None and job.run_dir not in self._events:
                self._events[job.run_dir] = Tail(Path(job.run_dir) / paths.EVENTS)
        events = {
            path: tuple(files.parse_json_lines(file.lines())) for path, file in self._events.items()
        }
        found = tuple(self._job(job, events) for job in jobs_now)
        between, ended = self._without_a_job({job.run_dir for job in jobs_now})
        sample = Sample(
            at_s=time.time(),
            clock_s=time.monotonic(),
            inventory=inventory,
            jobs=found,
            between=between,
            ended=ended,
            events=events,
        )
        self._monitor = update_monitor(self._monitor, sample)
        return current_frame(self._monitor)

    def _job(self, job: TrainingJob, events: Mapping[str, tuple[dict[str, Any], ...]]) -> JobSample:
        """The sample of a job; the processes and files of other users' jobs are not read."""
        if not job.ours:
            return JobSample(job=job)
        ranks = [(p.rank, jobs.identity(p)) for p in job.ranks if p.rank is not None]
        numbers = {number for number, _ in ranks}
        attempt = self._attempt(job)
        beats = attempt_beats.read(attempt.beats) if attempt is not None else []
        trains = any(beat.phase != "start" for beat in beats)
        seen = Observation(
            now_s=time.monotonic(),
            beats=tuple(beat for beat in beats if beat.rank in numbers),
            # A job that trains and beats is assessed by its beats; its I/O adds nothing.
            vitals=vitals.read(ranks, with_io=not trains),
            # For a job that reports its steps, the first size of its log would look like growth.
            log_bytes=attempt.logs.bytes if attempt is not None and not trains else None,
            checkpoint_bytes=attempt.checkpoints.bytes if attempt is not None else None,
        )
        if attempt is None or job.run_dir is None:
            return JobSample(job=job, observation=seen)
        there = attempt.root.is_dir()
        supervisor = supervisor_lock.holder(attempt.root)
        stopped = supervisor is not None and supervisor.stopped
        return JobSample(
            job=job,
            observation=seen,
            facts=attempt.facts,
            supervised=supervisor is not None and not stopped if there else None,
            supervisor_stopped=supervisor.pid if supervisor is not None and stopped else None,
            events=events.get(job.run_dir, ()),
        )

    def _attempt(self, job: TrainingJob) -> _Attempt | None:
        if job.run_dir is None or job.attempt is None:
            return None
        key = (job.run_dir, job.attempt)
        if key not in self._attempts:
            self._attempts[key] = _Attempt(Path(job.run_dir), job.attempt)
        return self._attempts[key]

    def _without_a_job(self, living: set[str | None]) -> tuple[frozenset[str], dict[str, Status]]:
        """The runs without a job that may start again, and the status of those that ended."""
        idle = [path for path in self._events if path not in living]
        between = {path for path in idle if supervisor_lock.holder(Path(path)) is not None}
        ended: dict[str, Status] = {}
        for path in idle:
            if path not in between:
                del self._events[path]
                if (record := records.load(Path(path))) is not None:
                    ended[path] = record.status
        for key in [key for key in self._attempts if key[0] not in living]:
            self._attempts.pop(key).close()
        return frozenset(between), ended


class _Attempt:
    """A running attempt, read from its run's folder."""

    def __init__(self, root: Path, attempt: int) -> None:
        self.root, self.facts = root, run_facts.read(root)
        self.beats = root / paths.beats(attempt)
        self.checkpoints = vitals.FolderSize(root / paths.CHECKPOINTS)
        self.logs = vitals.FolderSize(root / paths.logs(attempt))

    def close(self) -> None:
        self.checkpoints.close()
        self.logs.close()


class FrameSource(contextlib.AbstractContextManager["FrameSource"]):
    """A sampler in its own thread, every ``interval_s``; ``part`` selects from its frames."""

    def __init__(
        self, interval_s: float, part: Callable[[Frame], Frame] = lambda frame: frame
    ) -> None:
        self._interval_s, self._part = interval_s, part
        self._newest: Frame | None = None
        self._failed: BaseException | None = None
        self._closed = threading.Event()
        self._came = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def __exit__(self, *_exc: object) -> None:
        self._closed.set()  # joined only briefly: it may wait for a driver
        self._thread.join(timeout=0.2)

    def fileno(self) -> int:
        """A descriptor that becomes readable with each new frame."""
        return self._came

    def newest(self) -> Frame | None:
        """The newest frame; ``None`` before the first.

        Raises:
            BaseException: the exception that ended the thread.
        """
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._came)
        if self._failed is not None:
            raise self._failed
        return self._newest

    def _work(self) -> None:
        try:
            with Sampler(self._interval_s) as sampler:
                for _ in ticks(self._interval_s, self._closed):
                    self._newest = self._part(sampler.sample())
                    os.eventfd_write(self._came, 1)
        except BaseException as defect:  # noqa: BLE001 - raised again in the thread that draws
            self._failed = defect
            os.eventfd_write(self._came, 1)


def ticks(interval_s: float, closed: threading.Event) -> Iterator[None]:
    """The start of each sample, at fixed intervals, however long one takes."""
    due_s = time.monotonic()
    while not closed.is_set():
        yield
        due_s += interval_s
        late_s = time.monotonic() - due_s
        if late_s > 0:  # overdue ones are skipped
            due_s += late_s // interval_s * interval_s
        closed.wait(max(0.0, due_s - time.monotonic()))
