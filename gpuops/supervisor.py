"""Observe, decide, act: the one place where decisions meet processes and the clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpuops import heartbeat
from gpuops.core import failure, torchrun
from gpuops.core.plan import LaunchPlan
from gpuops.core.progress import Look, Progress, observe
from gpuops.core.supervision import (
    Action,
    AskWorkers,
    Begun,
    Event,
    Exited,
    Kill,
    Phase,
    StopPolicy,
    StopRequested,
    Supervision,
    TerminateAgent,
    Tick,
    step,
)
from gpuops.system import process, run_dir
from gpuops.system.process import Job
from gpuops.system.tail import Tail

POLL_S = 0.2
Ending = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended. ``returncode`` is torchrun's; ``stop_signal`` what a person sent."""

    ending: Ending
    returncode: int
    stop_signal: int | None
    failure: failure.Failure | None
    progress: Progress
    duration_s: float


def supervise(
    plan: LaunchPlan,
    out_dir: Path,
    metrics_file: Path | None,
    show: Callable[[Look], None],
    claims: Sequence[int] = (),
) -> Outcome:
    """Run one attempt to its end. Stop signals stop the job, not the supervisor.

    ``claims`` are the descriptors of locks that are to last as long as the job.

    Raises:
        GpuopsError: the run folder cannot be made, or torchrun not be started.
    """
    root = Path(plan.run_dir)
    run_dir.create(plan)
    run_dir.link_outputs(root, out_dir)
    run_dir.record(root, "attempt_started", attempt=plan.attempt, command=torchrun.argv(plan))
    policy = StopPolicy(save_s=plan.stop_save_s, terminate_s=plan.stop_terminate_s)
    state, progress = Supervision(policy=policy), Progress()
    watch = _Watch(plan, metrics_file)
    begin = time.monotonic()
    with process.SignalQueue() as signals:
        job = process.start(
            torchrun.argv(plan),
            torchrun.environment(plan),
            plan.working_dir,
            Path(plan.state_dir),
            Path(plan.log_dir, "agent.log"),
            claims,
        )
        try:
            while state.phase is not Phase.DONE:
                received = list(signals.wait(job.reaper.pid, POLL_S))
                progress = observe(progress, watch.beats(), watch.metrics())
                for event in _events(job, received, begun=watch.begun(progress)):
                    state = _take(plan, job, state, event)
                lines = watch.lines(flush=state.phase is Phase.DONE)
                now = time.monotonic()
                look = Look(
                    phase=state.phase,
                    progress=progress,
                    lines=lines,
                    partial=watch.partial(),
                    elapsed_s=now - begin,
                    stopping_s=None if state.asked_s is None else now - state.asked_s,
                )
                show = _shown(show, look)
        except BaseException:  # a defect of ours: the job is not to run on unwatched
            _act(job, AskWorkers())
            raise
    progress = observe(progress, watch.beats(), watch.metrics())
    return _close(plan, state, progress, time.monotonic() - begin)


def _take(plan: LaunchPlan, job: Job, state: Supervision, event: Event) -> Supervision:
    """Decide on one event, do what is decided, and record it."""
    root, before = Path(plan.run_dir), state.phase
    state, actions = step(state, event)
    for action in actions:
        _act(job, action)
        run_dir.record(root, "action", attempt=plan.attempt, action=type(action).__name__)
    if state.phase is not before and state.phase is Phase.RUNNING:
        run_dir.record(root, "training", attempt=plan.attempt)
    return state


def _shown(show: Callable[[Look], None], look: Look) -> Callable[[Look], None]:
    """Show a look; whose terminal has gone is shown nothing more, and the job goes on."""
    try:
        show(look)
    except (OSError, SystemExit):  # SystemExit: what rich makes of a broken pipe
        return lambda _look: None
    return show


class _Watch:
    """The files of an attempt that tell how it goes."""

    def __init__(self, plan: LaunchPlan, metrics_file: Path | None) -> None:
        self._plan = plan
        self._beats = Path(plan.state_dir, "beats")
        self._metrics = Tail(metrics_file, from_end=True) if metrics_file else None
        self._last: dict[str, float] = {}
        streams = ("stdout",) if plan.target.kind == "trainer" else ("stdout", "stderr")
        root = Path(plan.run_dir)
        self._output = [Tail(run_dir.rank_log(root, plan.attempt, 0, name)) for name in streams]

    def beats(self) -> list[heartbeat.Beat]:
        return heartbeat.read_all(self._beats)

    def metrics(self) -> dict[str, float]:
        """The newest training figures that the trainer logged."""
        lines = self._metrics.lines() if self._metrics else []
        for row in run_dir.parse_json_lines(lines):
            if row.get("split", "train") == "train":
                self._last = {k: float(v) for k, v in row.items() if isinstance(v, (int, float))}
        return self._last

    def begun(self, progress: Progress) -> bool:
        """Whether it trains; of a script that does not beat, whether its ranks are there."""
        if progress.step is not None or self._plan.target.kind == "trainer":
            return progress.step is not None
        return bool(run_dir.ranks_with_logs(Path(self._plan.run_dir), self._plan.attempt))

    def partial(self) -> str:
        """A line that rank 0 has not finished: a progress bar's."""
        return next((tail.partial for tail in reversed(self._output) if tail.partial), "")

    def lines(self, *, flush: bool) -> tuple[str, ...]:
        run_dir.link_rank_logs(self._plan)
        return tuple(line for tail in self._output for line in tail.lines(flush=flush))


def _events(job: Job, received: list[int], *, begun: bool) -> list[Event]:
    now = time.monotonic()
    events: list[Event] = [StopRequested(number, now) for number in received]
    if begun:
        events.insert(0, Begun())
    events.append(Tick(now))
    returncode = job.poll()
    if returncode is not None:
        events.append(Exited(returncode))
    return events


def _act(job: Job, action: Action) -> None:
    agent, workers = job.agent, job.workers()
    match action:
        case AskWorkers():
            for worker in workers:
                worker.send(signal.SIGTERM)
            if not workers and agent:
                agent.send(signal.SIGTERM)
            elif not workers:  # just starting: the reaper hands it on
                job.reaper.send_signal(signal.SIGTERM)
        case TerminateAgent():
            if agent:
                agent.send(signal.SIGTERM)
        case Kill():
            for process_ in (*([agent] if agent else []), *workers):
                process_.send(signal.SIGKILL)


def _close(plan: LaunchPlan, state: Supervision, progress: Progress, duration_s: float) -> Outcome:
    root = Path(plan.run_dir)
    run_dir.link_rank_logs(plan)
    returncode = state.returncode or 0
    ending: Ending = "finished" if returncode == 0 else "failed"
    if state.stop_signal is not None:
        ending = "stopped"
    cause = None
    if returncode != 0:
        log = Path(plan.log_dir, "agent.log")
        cause = failure.root_cause(log.read_text(errors="replace") if log.exists() else "")
    if ending == "stopped" and cause is not None and cause.exitcode < 0:
        cause = None  # ended by the signal that it was sent
    run_dir.record(
        root,
        "attempt_ended",
        attempt=plan.attempt,
        outcome=ending,
        returncode=returncode,
        step=progress.step,
        rank=cause.rank if cause else None,
    )
    return Outcome(
        ending=ending,
        returncode=returncode,
        stop_signal=state.stop_signal,
        failure=cause,
        progress=progress,
        duration_s=duration_s,
    )
