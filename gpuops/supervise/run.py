"""A run from its first attempt to its last: act on the moves that ``core`` decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from gpuops.core.diagnosis.traceback_key import refusal_key, traceback_key
from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Waiting
from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.core.supervision.attempts import (
    Ended,
    Finish,
    Interrupted,
    Outcome,
    RunEvent,
    RunState,
    Unprepared,
    next_move,
)
from gpuops.core.supervision.progress import Look
from gpuops.core.supervision.restart import (
    FailedAttempt,
    GiveUp,
    Replan,
    Restart,
    RestartPolicy,
)
from gpuops.errors import GpuopsError
from gpuops.launch.launch import Launch
from gpuops.launch.prepare import Prepared, prepare, refuse_errors
from gpuops.supervise.claims import RunClaims
from gpuops.supervise.supervisor import begin, watch
from gpuops.system import files, hooks
from gpuops.system.processes.process import Job, SignalQueue
from gpuops.system.runs import checkpoints, events
from gpuops.system.runs.supervisor_lock import only_one

LOG_BYTES = 1 << 20  # of a rank: its last traceback is in there


class Screen(Protocol):
    """What shows a person how the run goes."""

    def show(self, look: Look) -> None:
        """Show an attempt at one moment."""

    def show_plan(
        self, launch: LaunchPlan, settings: Mapping[str, Any], manifest: Manifest | None = None
    ) -> None:
        """Show a plan that differs from the one shown before."""

    def show_findings(self, found: Sequence[Finding]) -> None:
        """Show what preflight found."""

    def wait(self, waiting: Waiting) -> None:
        """Show which GPUs the launch waits for."""

    def tell(self, words: str) -> None:
        """Show what was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended: its last attempt, and why no other followed if one was wanted."""

    launch: Launch
    outcome: Outcome
    given_up: GiveUp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """An attempt that another process started, and that nobody supervises now."""

    launch: Launch
    job: Job


def run_attempts(
    first: Prepared | Adopted,
    screen: Screen,
    *,
    begun: Callable[[str], None] = lambda _run_id: None,
) -> RunOutcome:
    """Keep a run going: from its first attempt, or from one that another process started.

    ``begun`` is called with the run's name once the job runs.

    Raises:
        GpuopsError: the first attempt cannot be started, or the run has a supervisor already.
    """
    state = RunState(policy=RestartPolicy(max_restarts=first.launch.plan.max_restarts))
    with (
        RunClaims(screen.wait, screen.show_findings) as claims,
        _Run(first.launch, screen, claims) as run,
    ):
        if isinstance(first, Adopted):
            run.adopt(first.job)
        else:
            run.launch_first(first)
        begun(run.launch.plan.run_id)
        event: RunEvent = run.watch()
        while True:
            state, move = next_move(state, event)
            if isinstance(event, Ended):
                run.report(event.outcome, move)
            if isinstance(move, Finish):
                return run.finish(move)
            event = run.launch_next(move)


class _Run:
    """Acts on the moves of a run, as its only supervisor."""

    def __init__(self, launch: Launch, screen: Screen, claims: RunClaims) -> None:
        self.launch = launch
        self._screen, self._claims = screen, claims
        self._signals = SignalQueue()
        self._job: Job  # set by ``adopt`` and ``_start``
        self._lock, self._handlers = ExitStack(), ExitStack()
        self._locked = False

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lock.close()  # first: once nobody supervises the run, nobody sends a stop signal
        self._handlers.close()

    def adopt(self, job: Job) -> None:
        """Take over an attempt that runs."""
        self._be_the_only_one()
        self._handlers.enter_context(self._signals)
        self._job = job

    def launch_first(self, first: Prepared) -> None:
        """Claim what the first attempt takes, and start it."""
        if first.launch.plan.attempt > 1:  # else it has no folder yet
            self._be_the_only_one()
        prepared = self._claims.take(first)
        if prepared is not first:  # it waited, or others were faster
            self._show_plan(prepared.launch)
        self._handlers.enter_context(self._signals)
        self._start(prepared)

    def launch_next(self, move: Restart | Replan) -> RunEvent:
        """Wait, plan the next attempt for the machine as it is then, and watch it to its end."""
        until = time.monotonic() + move.after_s
        while (left := until - time.monotonic()) > 0:
            for number in self._signals.wait(None, left):
                return Interrupted(number)
        try:
            prepared = prepare(_next_options(self.launch.plan, move))
            if not self._claims.cover(prepared.launch.plan):
                prepared = self._claims.take(prepared)
                self._show_plan(prepared.launch)
            refuse_errors(prepared.findings, prepared.launch.plan.options.force)
        except GpuopsError as problem:
            return Unprepared(problem.message.rstrip("."), problem.hint)
        self._start(prepared)
        return self.watch()

    def watch(self) -> RunEvent:
        """Watch the attempt to its end."""
        outcome = watch(self.launch, self._job, self._screen.show, self._signals)
        return Ended(outcome, _failed_attempt(self.launch, outcome), time.monotonic())

    def report(self, outcome: Outcome, move: Restart | Replan | Finish) -> None:
        """Record what was decided after an attempt failed, and show it if another one follows."""
        plan, decision = self.launch.plan, move.given_up if isinstance(move, Finish) else move
        if decision is None:
            return
        fields = {key: value for key, value in asdict(decision).items() if key != "after_s"}
        name = type(decision).__name__.lower()
        events.record(Path(plan.run_dir), name, attempt=plan.attempt, **fields)
        if not isinstance(decision, GiveUp):
            ended = outcome.diagnosis.why if outcome.diagnosis else "it ended"
            self._screen.tell(f"{_sentence(ended)} {_sentence(decision.why)}")

    def finish(self, move: Finish) -> RunOutcome:
        """Run the hook for the end."""
        ended = RunOutcome(launch=self.launch, outcome=move.outcome, given_up=move.given_up)
        _run_exit_hook(ended)
        return ended

    def _start(self, prepared: Prepared) -> None:
        self.launch = prepared.launch
        self._job = begin(self.launch, self._claims.descriptors)
        with suppress(GpuopsError):  # where it runs is worth keeping; the job matters more
            path = Path(self.launch.plan.run_dir, paths.ENVIRONMENT)
            files.write_json(path, asdict(prepared.environment))
        self._be_the_only_one()

    def _be_the_only_one(self) -> None:
        if not self._locked:
            self._lock.enter_context(only_one(Path(self.launch.plan.run_dir)))
            self._locked = True

    def _show_plan(self, launch: Launch) -> None:
        self._screen.show_plan(launch.plan, launch.settings, launch.manifest)


def _next_options(plan: LaunchPlan, move: Restart | Replan) -> LaunchOptions:
    """The same run again, on its own GPUs if they are there; if not, on others or on fewer.

    What a person said of GPUs and port still holds.
    """
    options, replan = plan.options, move if isinstance(move, Replan) else None
    lost = replan.without_gpus if replan and not options.gpus else ()
    return LaunchOptions(
        resume=plan.run_dir,
        nproc_per_node=plan.ranks_wanted,
        gpus=options.gpus,
        exclude_gpus=(*options.exclude_gpus, *lost),
        prefer_gpus=tuple(gpu.uuid for gpu in plan.devices if gpu.uuid is not None),
        shrink=True,
        force=options.force,
        batch_divisor=options.batch_divisor * (2 if replan and replan.halve_batch else 1),
    )


def _run_exit_hook(ended: RunOutcome) -> None:
    plan, outcome = ended.launch.plan, ended.outcome
    if plan.options.on_exit is None:
        return
    happened = {
        "event": "exit",
        "run_id": plan.run_id,
        "run_dir": plan.run_dir,
        "ending": outcome.ending,
        "attempts": plan.attempt,
        "step": outcome.progress.step,
        "given_up": ended.given_up.why if ended.given_up else None,
        "diagnosis": outcome.diagnosis.why if outcome.diagnosis else None,
    }
    hooks.run(plan.options.on_exit, happened).join(hooks.TIMEOUT_S)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _failed_attempt(launch: Launch, outcome: Outcome) -> FailedAttempt | None:
    """What there is to know of an attempt that failed; ``None`` if it did not, or has no cause."""
    plan, diagnosis = launch.plan, outcome.diagnosis
    if outcome.ending != "failed" or diagnosis is None:
        return None
    log = paths.rank_log(plan.attempt, diagnosis.rank or 0, "stderr")
    stderr = files.tail(Path(plan.run_dir, log), LOG_BYTES)
    return FailedAttempt(
        number=plan.attempt,
        ended_s=time.monotonic(),
        first_step=outcome.first_step,
        last_step=outcome.progress.step,
        diagnosis=diagnosis,
        traceback_key=traceback_key(stderr) or refusal_key(stderr),
        checkpoint_step=checkpoints.newest_step(launch.places.checkpoints),
        exitcode=outcome.failure.exitcode if outcome.failure else None,
    )
