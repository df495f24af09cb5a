"""A run from its first attempt to its last: watch over each, and do what is decided to follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.traceback_key import refusal_key, traceback_key
from gpuops.core.finding import Finding
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.queue import Waiting
from gpuops.core.machine.environment import Environment
from gpuops.core.run import paths
from gpuops.core.supervision.attempts import Outcome
from gpuops.core.supervision.progress import Look
from gpuops.core.supervision.restart import (
    FailedAttempt,
    GiveUp,
    Replan,
    Restart,
    RestartPolicy,
    decide,
)
from gpuops.errors import GpuopsError
from gpuops.launch.claim import claim_gpus
from gpuops.launch.launch import Launch
from gpuops.launch.prepare import Prepared, prepare, refuse_errors
from gpuops.supervise.supervisor import begin, watch
from gpuops.system import files, hooks
from gpuops.system.processes import process
from gpuops.system.processes.process import Job, SignalQueue
from gpuops.system.runs import checkpoints, events
from gpuops.system.runs.supervisor_lock import only_one


class Screen(Protocol):
    """Who is shown how it goes."""

    def show(self, look: Look) -> None:
        """A look at an attempt."""

    def show_plan(self, launch: LaunchPlan, settings: Mapping[str, Any]) -> None:
        """A plan that was made anew."""

    def show_findings(self, found: Sequence[Finding]) -> None:
        """What preflight found of it."""

    def wait(self, waiting: Waiting) -> None:
        """What is waited for."""

    def tell(self, words: str) -> None:
        """What was decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended: its last attempt, and why it was not started again, if it was not."""

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
    ended: list[FailedAttempt] = []
    with ExitStack() as claims, ExitStack() as alone:
        launch, descriptors, job = first.launch, tuple[int, ...](), None
        new = isinstance(first, Prepared) and launch.plan.attempt == 1
        alone.enter_context(nullcontext() if new else only_one(Path(launch.plan.run_dir)))
        if isinstance(first, Adopted):
            job = first.job
        else:
            prepared, held = claims.enter_context(
                claim_gpus(first, screen.wait, screen.show_findings)
            )
            launch, descriptors = prepared.launch, held.descriptors
            if prepared is not first:  # it waited, or others were faster
                screen.show_plan(launch.plan, launch.settings)
        signals = alone.enter_context(process.SignalQueue())
        while True:
            started_s = time.monotonic()
            if job is None:
                job = begin(launch, descriptors)
                _keep_environment(launch.plan, prepared.environment)
            if not ended:
                alone.enter_context(only_one(Path(launch.plan.run_dir)) if new else nullcontext())
                begun(launch.plan.run_id)
            outcome = watch(launch, job, screen.show, signals)
            job = None
            kept, decision = _what_follows(launch, outcome, ended, started_s)
            if decision is None:
                return _told(kept)
            screen.tell(f"{_why(outcome)} {decision.why[:1].upper()}{decision.why[1:]}.")
            number = _pause(signals, decision.after_s)
            if number is not None:
                stopped = replace(outcome, ending="stopped", stop_signal=number)
                return _told(replace(kept, outcome=stopped))
            try:
                before, prepared = launch.plan, prepare(_next(launch.plan, decision, ended))
                if not descriptors or _to_claim(prepared.launch.plan) != _to_claim(before):
                    claims.close()
                    prepared, held = claims.enter_context(
                        claim_gpus(prepared, screen.wait, screen.show_findings)
                    )
                    descriptors = held.descriptors
                    screen.show_plan(prepared.launch.plan, prepared.launch.settings)
                launch = prepared.launch
                refuse_errors(prepared.findings, launch.plan.options.force)
            except GpuopsError as problem:
                given_up = GiveUp(why=problem.message.rstrip("."), advice=problem.hint)
                return _told(replace(kept, given_up=given_up))


def _keep_environment(plan: LaunchPlan, environment: Environment) -> None:
    """Write down where it runs, and on what; if that fails, the job matters more."""
    with suppress(GpuopsError):
        files.write_json(Path(plan.run_dir, paths.ENVIRONMENT), asdict(environment))


def _what_follows(
    launch: Launch, outcome: Outcome, ended: list[FailedAttempt], started_s: float
) -> tuple[RunOutcome, Restart | Replan | None]:
    kept = RunOutcome(launch=launch, outcome=outcome)
    if outcome.ending != "failed" or outcome.diagnosis is None:
        return kept, None
    ended.append(_ended(launch, outcome, outcome.diagnosis, started_s))
    policy = RestartPolicy(max_restarts=launch.plan.max_restarts)
    decision = decide(ended, policy, time.monotonic())
    what = type(decision).__name__.lower()
    fields = {key: value for key, value in asdict(decision).items() if key != "after_s"}
    events.record(Path(launch.plan.run_dir), what, attempt=launch.plan.attempt, **fields)
    if isinstance(decision, GiveUp):
        return replace(kept, given_up=decision), None
    return kept, decision


def _next(
    plan: LaunchPlan, decision: Restart | Replan, ended: Sequence[FailedAttempt]
) -> LaunchOptions:
    """The same run again, on its own GPUs if they are there; if not, on others or on fewer.

    What a person said of GPUs and port still holds.
    """
    options = plan.options
    lost = decision.without_gpus if isinstance(decision, Replan) and not options.gpus else ()
    full = ended[-1].diagnosis.kind == "out of memory (gpu)"
    return LaunchOptions(
        resume=plan.run_dir,
        nproc_per_node=plan.ranks_wanted,
        gpus=options.gpus,
        exclude_gpus=(*options.exclude_gpus, *lost),
        prefer_gpus=_uuids(plan),
        shrink=True,
        force=options.force,
        batch_divisor=options.batch_divisor * (2 if full else 1),
    )


def _to_claim(plan: LaunchPlan) -> tuple[int, tuple[str, ...]]:
    return plan.master_port, _uuids(plan)


def _uuids(plan: LaunchPlan) -> tuple[str, ...]:
    return tuple(gpu.uuid for gpu in plan.devices if gpu.uuid is not None)


def _told(kept: RunOutcome) -> RunOutcome:
    """Tell whoever wanted to be told of the end."""
    plan, outcome = kept.launch.plan, kept.outcome
    if plan.options.on_exit is not None:
        hooks.run(
            plan.options.on_exit,
            {
                "event": "exit",
                "run_id": plan.run_id,
                "run_dir": plan.run_dir,
                "ending": outcome.ending,
                "attempts": plan.attempt,
                "step": outcome.progress.step,
                "given_up": kept.given_up.why if kept.given_up else None,
                "diagnosis": outcome.diagnosis.why if outcome.diagnosis else None,
            },
        ).join(hooks.TIMEOUT_S)
    return kept


def _why(outcome: Outcome) -> str:
    why = outcome.diagnosis.why if outcome.diagnosis else "it ended"
    return f"{why[:1].upper()}{why[1:]}."


def _pause(signals: SignalQueue, seconds: float) -> int | None:
    """Wait; a stop signal that comes meanwhile ends the waiting, and the run."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for number in signals.wait(None, left):
            return number
    return None


def _ended(
    launch: Launch, outcome: Outcome, diagnosis: Diagnosis, started_s: float
) -> FailedAttempt:
    plan = launch.plan
    rank = diagnosis.rank if diagnosis.rank is not None else 0
    log = Path(plan.run_dir) / paths.rank_log(plan.attempt, rank, "stderr")
    try:
        said = log.read_text(errors="replace")
    except OSError:
        said = ""
    folder = launch.places.checkpoints
    whole = [
        name
        for name, _ in checkpoints.list_checkpoints(folder)
        if not checkpoints.aside(name) and checkpoints.damage(folder / name) is None
    ]
    kept = [step for name in whole if (step := _step(name)) is not None]
    return FailedAttempt(
        number=plan.attempt,
        started_s=started_s,
        ended_s=time.monotonic(),
        first_step=outcome.first_step,
        last_step=outcome.progress.step,
        diagnosis=diagnosis,
        traceback_key=traceback_key(said) or refusal_key(said),
        checkpoint_step=max(kept, default=None),
        exitcode=outcome.failure.exitcode if outcome.failure else None,
    )


def _step(name: str) -> int | None:
    """The step in a checkpoint's name, where it ends in one."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else None
