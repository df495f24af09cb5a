"""Observe, decide, act: one attempt from its start, or its adoption, to its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.torchrun_failure import root_cause
from gpuops.core.hang.detector import Hung, Suspect, hang_policy, to_hung
from gpuops.core.launch import torchrun
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.secrets import mask_words
from gpuops.core.run import paths
from gpuops.core.supervision import state_machine as machine
from gpuops.core.supervision.attempts import Ending, Outcome
from gpuops.core.supervision.progress import Look
from gpuops.diagnose import crashed, inspect, why_gone
from gpuops.errors import GpuopsError
from gpuops.launch.launch import Launch
from gpuops.supervise.observer import AttemptObserver
from gpuops.system import files, hooks
from gpuops.system.host import cgroups
from gpuops.system.processes import process
from gpuops.system.processes.process import Job, SignalQueue
from gpuops.system.runs import events, rank_logs, run_dir

POLL_S = 0.2
KILL_S = 10.0


def begin(launch: Launch, claims: Sequence[int] = ()) -> Job:
    """Make the run folder and start the job; ``claims`` are locks to last as long as it does.

    Raises:
        GpuopsError: the run folder cannot be made, or torchrun not be started.
    """
    plan, root = launch.plan, Path(launch.plan.run_dir)
    run_dir.create(plan)
    run_dir.link_outputs(root, launch.places.out_dir)
    group = cgroups.own()  # the job's as well: what it loses there is counted from here
    events.record(
        root,
        "attempt_started",
        attempt=plan.attempt,
        command=mask_words(torchrun.argv(plan)),
        memory_group=str(group) if group else None,
        oom_kills=cgroups.oom_kills(group) if group else None,
    )
    return process.start(
        torchrun.argv(plan),
        torchrun.environment(plan, os.environ),
        plan.working_dir,
        Path(plan.state_dir),
        root / paths.agent_log(plan.attempt),
        claims,
    )


def watch(launch: Launch, job: Job, show: Callable[[Look], None], signals: SignalQueue) -> Outcome:
    """Supervise a job to its end. Stop signals stop the job, not the supervisor."""
    plan = launch.plan
    policy = hang_policy(plan.target.kind, plan.hang_timeout_s)
    with AttemptObserver(launch, policy, record=True) as observer:
        try:
            state, evidence = _until_the_end(plan, job, observer, show, signals)
        except BaseException:  # a defect of ours: the job must not go on without a supervisor
            _act(plan, job, machine.AskWorkers())
            raise
        observer.poll(job)
        return _close(plan, state, observer, evidence)


def end(plan: LaunchPlan, job: Job, *, now: bool) -> None:
    """End a job of another user by signals alone, as root: nothing is written or started.

    Raises:
        GpuopsError: it outlasts SIGKILL.
    """
    steps: list[tuple[machine.Action, float]] = [
        (machine.AskWorkers(), plan.stop_save_s),
        (machine.TerminateAgent(), plan.stop_terminate_s),
        (machine.Kill(), KILL_S),
    ]
    for action, patience_s in steps[-1:] if now else steps:
        _act(plan, job, action)
        until_s = time.monotonic() + patience_s
        while job.poll() is None:
            if time.monotonic() > until_s:
                break
            time.sleep(POLL_S)
        else:
            return
    raise GpuopsError(
        f"run {plan.run_id} outlasts SIGKILL.", "Its processes wait for a disk or a driver."
    )


def _until_the_end(
    plan: LaunchPlan,
    job: Job,
    observer: AttemptObserver,
    show: Callable[[Look], None],
    signals: SignalQueue,
) -> tuple[machine.Supervision, Diagnosis | None]:
    policy = machine.StopPolicy(
        save_s=plan.stop_save_s, terminate_s=plan.stop_terminate_s, observe=plan.observe
    )
    state, evidence, gone = machine.Supervision(policy=policy), None, False
    while state.phase is not machine.Phase.DONE:
        received = list(signals.wait(job.pid, POLL_S))
        observer.poll(job)
        for event in _events(job, received, observer, evidence):
            state, actions = _take(plan, state, event)
            for action in actions:
                evidence = _act(plan, job, action) or evidence
        if state.suspected is None and not state.hung:
            evidence = None  # it moves again
        trouble = evidence.why if evidence else None
        look = observer.snapshot(state.phase, asked_s=state.asked_s, trouble=trouble)
        try:
            if not gone:
                show(look)
        except (OSError, SystemExit):  # the terminal has gone; rich makes a SystemExit of it
            gone = True  # and the job goes on
    return state, evidence


def _take(
    plan: LaunchPlan, state: machine.Supervision, event: machine.Event
) -> tuple[machine.Supervision, list[machine.Action]]:
    """Decide on one event; record the actions, and the event if it changes anything."""
    root, before = Path(plan.run_dir), state
    state, actions = machine.step(state, event)
    if state != before or actions:
        happened = {"what": type(event).__name__, **asdict(event)}
        events.record(root, "observed", attempt=plan.attempt, **happened)
    for action in actions:
        events.record(root, "action", attempt=plan.attempt, action=type(action).__name__)
    if state.phase is not before.phase and state.phase is machine.Phase.RUNNING:
        events.record(root, "training", attempt=plan.attempt)
    return state, actions


def _events(
    job: Job, received: list[int], observer: AttemptObserver, evidence: Diagnosis | None
) -> list[machine.Event]:
    now = time.monotonic()
    events: list[machine.Event] = [machine.Begun()] if observer.begun else []
    events += [machine.StopRequested(number, now) for number in received]
    if (assessment := observer.assessment) is not None:
        events.append(machine.Assessed(assessment, now))
        if isinstance(assessment, Suspect) and evidence is not None and evidence.hopeless:
            hung = to_hung(assessment)  # what it waits for can never come
            events.append(machine.Assessed(hung, now))
    events.append(machine.Tick(now))
    if (returncode := job.poll()) is not None:
        events.append(machine.Exited(returncode))
    return events


def _act(plan: LaunchPlan, job: Job, action: machine.Action) -> Diagnosis | None:
    """Carry out an action; return the evidence if it gathers that."""
    agent, workers = job.agent, job.workers()
    match action:
        case machine.Inspect(assessment=assessment):
            return _inspected(plan, job, assessment)
        case machine.AskWorkers():
            for worker in workers:
                worker.send(signal.SIGTERM)
                worker.send(signal.SIGCONT)  # one that is stopped cannot handle it
            if not workers and agent:
                agent.send(signal.SIGTERM)
            elif not workers:
                job.terminate()
        case machine.TerminateAgent():
            if agent:
                agent.send(signal.SIGTERM)
        case machine.Kill():
            for process_ in (*([agent] if agent else []), *workers):
                process_.send(signal.SIGKILL)
    return None


def _inspected(plan: LaunchPlan, job: Job, assessment: Suspect | Hung) -> Diagnosis:
    """Gather the evidence; run the hook for a hang."""
    found = inspect(plan, job, assessment)
    command = plan.options.on_hang
    if command is not None and isinstance(assessment, Hung):
        about = {"event": "hang", "run_id": plan.run_id, "run_dir": plan.run_dir}
        hooks.run(command, {**about, "attempt": plan.attempt, "diagnosis": asdict(found)})
    return found


def _close(
    plan: LaunchPlan,
    state: machine.Supervision,
    observer: AttemptObserver,
    evidence: Diagnosis | None,
) -> Outcome:
    root = Path(plan.run_dir)
    rank_logs.link(plan)
    returncode = state.returncode or 0
    ending: Ending = "finished" if returncode == 0 and not state.hung else "failed"
    if state.stop_signal is not None:
        ending = "stopped"
    cause = root_cause(files.tail(root / paths.agent_log(plan.attempt))) if returncode else None
    if ending == "stopped" and cause is not None and cause.killed_by:
        cause = None  # ended by the signal that it was sent
    diagnosis = None
    if ending == "failed":
        diagnosis = evidence if state.hung else crashed(plan, returncode)
        if diagnosis is not None and diagnosis is evidence and diagnosis.kind == "peer died":
            diagnosis = why_gone(plan, returncode, diagnosis)
    events.record(
        root,
        "attempt_ended",
        attempt=plan.attempt,
        outcome=ending,
        returncode=returncode,
        first_step=observer.first_step,
        step=observer.progress.step,
        rank=cause.rank if cause else None,
        kind=diagnosis.kind if diagnosis else None,
    )
    return Outcome(
        ending=ending,
        returncode=returncode,
        stop_signal=state.stop_signal,
        failure=cause,
        diagnosis=diagnosis,
        progress=observer.progress,
        first_step=observer.first_step,
        duration_s=observer.elapsed_s,
    )
