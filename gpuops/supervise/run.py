"""A run from its first attempt to its last: act on the moves that ``core`` decides."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gpuops.core.diagnosis.traceback_key import refusal_key, traceback_key
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.core.supervision import run as machine
from gpuops.core.supervision.restart import FailedAttempt, GiveUp, Replan, Restart, RestartPolicy
from gpuops.errors import GpuopsError
from gpuops.launch.claim import claim_gpus
from gpuops.launch.contention import Contention
from gpuops.launch.launch import Launch
from gpuops.launch.prepare import Prepared, prepare, refuse_errors
from gpuops.supervise.supervisor import begin, make_folder, watch
from gpuops.system import claims, files, hooks
from gpuops.system.processes.process import Job, SignalQueue
from gpuops.system.runs import checkpoints, events
from gpuops.system.runs.run_dir import RunTakenError
from gpuops.system.runs.supervisor_lock import only_one
from gpuops.ui import words
from gpuops.ui.launches import Screen

LOG_BYTES = 1 << 20  # of a rank: its last traceback is in there


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended: its last attempt, and why no other followed if one was wanted."""

    launch: Launch
    outcome: machine.Outcome
    given_up: GiveUp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """An attempt that another process started, and that has no supervisor now."""

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
    state = machine.RunState(policy=RestartPolicy(max_restarts=first.launch.plan.max_restarts))
    with _Run(first.launch, screen) as run:
        if isinstance(first, Adopted):
            run.adopt(first.job)
        else:
            run.launch_first(first)
        begun(run.launch.plan.run_id)
        event: machine.RunEvent = run.watch()
        while True:
            state, move = machine.next_move(state, event)
            run.report(move)
            if isinstance(move, machine.Finish):
                return run.finish(move)
            if isinstance(event, machine.Ended):
                run.show_next(event.outcome, move)
            event = run.launch_next(move)


class _Run(AbstractContextManager["_Run"]):
    """Acts on the moves of a run, as its only supervisor.

    It holds the run's GPUs and port in the pauses between attempts too.
    """

    def __init__(self, launch: Launch, screen: Screen) -> None:
        self.launch = launch
        self._screen = screen
        self._signals = SignalQueue()
        self._job: Job  # set by ``adopt`` and ``_start``
        self._lock, self._handlers = ExitStack(), ExitStack()
        self._locked = False
        self._contention = Contention(screen.tell)

    def __exit__(self, *_exc: object) -> None:
        self._lock.close()  # first: a stop signal is sent only to the holder of this lock
        self._handlers.close()
        self._contention.claims.close()

    def adopt(self, job: Job) -> None:
        """Take over an attempt that runs."""
        self._be_the_only_one()
        self._handlers.enter_context(self._signals)
        with suppress(GpuopsError):  # the job matters more
            claim = claims.own_claim(self.launch.plan.run_id, self.launch.plan.run_dir)
            self._contention.claims.adopt(claim, job.pid)
        self._job = job

    def launch_first(self, first: Prepared) -> None:
        """Claim what the first attempt takes, and start it."""
        if first.launch.plan.attempt > 1:  # else it has no folder yet
            self._be_the_only_one()
        prepared = self._claim(first)
        if prepared is not first:  # it waited, or others were faster
            self._show_plan(prepared.launch)
        self._handlers.enter_context(self._signals)
        try:
            self._start(prepared)
        except RunTakenError:  # its folder is another launch's
            raise
        except GpuopsError as problem:
            self._record("run_ended", outcome="failed", why=problem.message)
            raise

    def launch_next(self, move: Restart | Replan) -> machine.RunEvent:
        """Wait, plan the next attempt for the machine as it is then, and watch it to its end."""
        until = time.monotonic() + move.after_s
        while (left := until - time.monotonic()) > 0:
            for number in self._signals.wait(None, left):
                return machine.Interrupted(number)
        ended = self.launch
        try:
            prepared = prepare(_next_options(self.launch.plan, move), self._contention)
            prepared = self._claim(prepared)
            if _resources(prepared.launch.plan) != _resources(self.launch.plan):
                self._show_plan(prepared.launch)
            refuse_errors(prepared.findings, prepared.launch.plan.options.force)
            self._start(prepared)
        except GpuopsError as problem:
            self.launch = ended
            return machine.Unprepared(problem.message.rstrip("."), problem.hint)
        return self.watch()

    def watch(self) -> machine.RunEvent:
        """Watch the attempt to its end."""
        outcome = watch(self.launch, self._job, self._screen.show, self._signals)
        return machine.Ended(outcome, _failed_attempt(self.launch, outcome), time.monotonic())

    def report(self, move: Restart | Replan | machine.Finish) -> None:
        """Record what was decided: another attempt, or none."""
        decision = move.given_up if isinstance(move, machine.Finish) else move
        if decision is not None:
            fields = {key: value for key, value in asdict(decision).items() if key != "after_s"}
            self._record(type(decision).__name__.lower(), **fields)

    def show_next(self, outcome: machine.Outcome, decision: Restart | Replan) -> None:
        """Say why an attempt ended, and what follows it."""
        ended = outcome.diagnosis.why if outcome.diagnosis else "it ended"
        self._screen.tell(f"{words.sentence(ended)} {words.sentence(decision.why)}")

    def finish(self, move: machine.Finish) -> RunOutcome:
        """Record the end of the run, and run the hook for it."""
        plan, outcome, given_up = self.launch.plan, move.outcome, move.given_up
        self._record("run_ended", outcome=outcome.ending)
        if plan.options.on_exit is not None:
            happened = {
                "event": "exit",
                "run_id": plan.run_id,
                "run_dir": plan.run_dir,
                "ending": outcome.ending,
                "attempts": plan.attempt,
                "step": outcome.progress.step,
                "given_up": given_up.why if given_up else None,
                "diagnosis": outcome.diagnosis.why if outcome.diagnosis else None,
            }
            hooks.run(plan.options.on_exit, happened).join(hooks.TIMEOUT_S)
        return RunOutcome(launch=self.launch, outcome=outcome, given_up=given_up)

    def _claim(self, prepared: Prepared) -> Prepared:
        """Claim what a plan takes; return the plan that was claimed."""
        screen = self._screen
        return claim_gpus(prepared, self._contention, screen.wait, screen.show_findings)

    def _start(self, prepared: Prepared) -> None:
        """Start an attempt; first be its supervisor: no job runs unwatched."""
        self.launch = prepared.launch
        make_folder(self.launch)
        self._be_the_only_one()
        self._job = begin(self.launch, self._contention.claims.descriptors)
        with suppress(GpuopsError):  # the job matters more
            path = Path(self.launch.plan.run_dir, paths.ENVIRONMENT)
            files.write_json(path, asdict(prepared.environment))

    def _be_the_only_one(self) -> None:
        if not self._locked:
            self._lock.enter_context(only_one(Path(self.launch.plan.run_dir)))
            self._locked = True

    def _record(self, event: str, **fields: object) -> None:
        plan = self.launch.plan
        events.record(Path(plan.run_dir), event, attempt=plan.attempt, **fields)

    def _show_plan(self, launch: Launch) -> None:
        self._screen.show_plan(launch.plan, launch.settings, launch.manifest)


def _resources(plan: LaunchPlan) -> tuple[object, ...]:
    return plan.master_port, *(gpu.uuid for gpu in plan.devices)


def _next_options(plan: LaunchPlan, move: Restart | Replan) -> LaunchOptions:
    """The same run again, on its own GPUs if they are there; if not, on others or on fewer.

    The GPUs that the user named or excluded stay so.
    """
    options, replan = plan.options, move if isinstance(move, Replan) else None
    lost = replan.without_gpus if replan and not options.gpus else ()
    return LaunchOptions(
        resume=plan.run_dir,
        nproc_per_node=plan.ranks_wanted,
        gpus=options.gpus,
        exclude_gpus=(*options.exclude_gpus, *lost),
        allotted=options.allotted,
        prefer_gpus=tuple(gpu.uuid for gpu in plan.devices if gpu.uuid is not None),
        shrink=True,
        force=options.force,
        batch_divisor=options.batch_divisor * (2 if replan and replan.halve_batch else 1),
    )


def _failed_attempt(launch: Launch, outcome: machine.Outcome) -> FailedAttempt | None:
    """Describe an attempt that failed; ``None`` if it did not, or has no diagnosis."""
    plan, diagnosis = launch.plan, outcome.diagnosis
    if outcome.ending != "failed" or diagnosis is None:
        return None
    log = paths.rank_log(plan.attempt, diagnosis.rank or 0, "stderr")
    if diagnosis.kind == "exception" and diagnosis.rank is None:  # torchrun's own
        log = paths.agent_log(plan.attempt)
    stderr = files.tail(Path(plan.run_dir, log), LOG_BYTES)
    return FailedAttempt(
        number=plan.attempt,
        ended_s=time.monotonic(),
        duration_s=outcome.duration_s,
        first_step=outcome.first_step,
        last_step=outcome.progress.step,
        diagnosis=diagnosis,
        traceback_key=traceback_key(stderr) or refusal_key(stderr),
        checkpoint_step=checkpoints.newest_step(launch.places.checkpoints),
        exitcode=outcome.failure.exitcode if outcome.failure else None,
        stopped=outcome.stop_signal is not None,
        left=outcome.left,
    )
