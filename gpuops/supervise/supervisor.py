"""Observe, decide, act: one attempt from its start, or its adoption, to its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.torchrun_failure import root_cause
from gpuops.core.hang.detector import Hung, Suspect, hang_policy, to_hung
from gpuops.core.launch import torchrun
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.secrets import mask_words
from gpuops.core.run import paths
from gpuops.core.supervision import attempt as machine
from gpuops.core.supervision.progress import Look
from gpuops.core.supervision.run import Ending, Outcome
from gpuops.diagnose import crashed, inspect, why_gone
from gpuops.errors import GpuopsError
from gpuops.launch.launch import Launch
from gpuops.supervise.observer import AttemptObserver
from gpuops.system import files, hooks, owners
from gpuops.system.host import cgroups
from gpuops.system.processes import members, process
from gpuops.system.processes.identity import Identity
from gpuops.system.processes.members import Member
from gpuops.system.processes.process import Job, SignalQueue
from gpuops.system.runs import events, ownership, rank_logs, run_dir

POLL_S = 0.2
KILL_S = 10.0


def make_folder(launch: Launch) -> None:
    """Make the run folder, or the folders of its next attempt.

    Raises:
        GpuopsError: they cannot be made.
    """
    run_dir.create(launch.plan)
    run_dir.link_outputs(Path(launch.plan.run_dir), launch.places.out_dir)


def begin(launch: Launch, claims: Sequence[int] = ()) -> Job:
    """Start the job in its folder; ``claims`` are locks to last as long as it does.

    Raises:
        GpuopsError: torchrun cannot be started.
    """
    plan, root = launch.plan, Path(launch.plan.run_dir)
    # The job's as well: what it loses there is counted from here.
    group, pids_group = cgroups.own(), cgroups.pids_group()
    events.record(
        root,
        "attempt_started",
        attempt=plan.attempt,
        command=mask_words(torchrun.argv(plan)),
        memory_group=str(group) if group else None,
        oom_kills=cgroups.oom_kills(group) if group else None,
        pids_group=str(pids_group) if pids_group else None,
        refused_forks=cgroups.refused_forks(pids_group) if pids_group else None,
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
            state, evidence, left = _until_the_end(plan, job, observer, show, signals)
        except BaseException:  # a defect of ours: the job must not go on without a supervisor
            _act(plan, job, machine.AskWorkers())
            raise
        observer.poll(job)
        return _close(plan, state, observer, evidence, members.format_members(left))


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
    left: tuple[Member, ...] = ()
    uid = ownership.owner(Path(plan.run_dir))
    for action, patience_s in steps[-1:] if now else steps:
        left = members.left(job.state_dir) if job.poll() is not None else ()
        _act(plan, job, action, left, uid)
        until_s = time.monotonic() + patience_s
        while time.monotonic() < until_s:
            if job.poll() is not None and not (left := members.left(job.state_dir, left)):
                return
            time.sleep(POLL_S)
    raise GpuopsError(
        f"run {plan.run_id} outlasts SIGKILL: {members.format_members(left) or 'its reaper'}.",
        "Its processes wait for a disk or a driver.",
    )


def _until_the_end(
    plan: LaunchPlan,
    job: Job,
    observer: AttemptObserver,
    show: Callable[[Look], None],
    signals: SignalQueue,
) -> tuple[machine.Supervision, Diagnosis | None, tuple[Member, ...]]:
    """Watch it; return its last state, the evidence of a hang, and what outlasts it."""
    policy = machine.StopPolicy(
        save_s=plan.stop_save_s, terminate_s=plan.stop_terminate_s, observe=plan.observe
    )
    state, evidence, gone = machine.Supervision(policy=policy), None, False
    left: tuple[Member, ...] = ()
    while state.phase is not machine.Phase.DONE:
        received = list(signals.wait(job.pid, POLL_S))
        if received and job.recorded_exit == 0:
            received = []  # it has finished: a stop that comes now changes nothing
        observer.poll(job)
        ended: machine.Abandoned | machine.Exited | None = None
        if (returncode := job.poll()) is not None:
            left = members.left(job.state_dir, left or observer.members)
            agent = job.agent  # once: a process that dies meanwhile is None the next time
            led = agent is not None and agent.alive
            recorded = job.recorded_exit is not None
            abandoned = machine.Abandoned(returncode, time.monotonic(), led, recorded)
            ended = abandoned if left else machine.Exited(returncode)
        for event in _events(received, observer, evidence, ended):
            state, actions = _take(plan, state, event)
            for action in actions:
                evidence = _act(plan, job, action, left) or evidence
        if state.suspected is None and not state.hung:
            evidence = None  # it moves again
        trouble = evidence.why if evidence else None
        look = observer.snapshot(state.phase, asked_s=state.asked_s, trouble=trouble)
        try:
            if not gone:
                show(look)
        except (OSError, SystemExit):  # the terminal has gone; rich makes a SystemExit of it
            gone = True  # and the job goes on
    return state, evidence, left


def _take(
    plan: LaunchPlan, state: machine.Supervision, event: machine.Event
) -> tuple[machine.Supervision, list[machine.Action]]:
    """Decide on one event; record the actions, and the event if it changes anything."""
    before = state
    state, actions = machine.step(state, event)
    if state == before and not actions:
        return state, actions
    root = Path(plan.run_dir)
    happened = {"what": type(event).__name__, **asdict(event)}
    events.record(root, "observed", attempt=plan.attempt, **happened)
    for action in actions:
        events.record(root, "action", attempt=plan.attempt, action=type(action).__name__)
    if state.phase is not before.phase and state.phase is machine.Phase.RUNNING:
        events.record(root, "training", attempt=plan.attempt)
    return state, actions


def _events(
    received: list[int],
    observer: AttemptObserver,
    evidence: Diagnosis | None,
    ended: machine.Abandoned | machine.Exited | None,
) -> list[machine.Event]:
    """What has happened since the last look; ``ended`` if the reaper has."""
    now = time.monotonic()
    events: list[machine.Event] = [machine.Begun()] if observer.begun else []
    events += [machine.StopRequested(number, now) for number in received]
    if (assessment := observer.assessment) is not None:
        events.append(machine.Assessed(assessment, now))
        if isinstance(assessment, Suspect) and evidence is not None and evidence.hopeless:
            hung = to_hung(assessment)  # what it waits for can never come
            events.append(machine.Assessed(hung, now))
    events.append(machine.Tick(now))
    return [*events, ended] if ended is not None else events


def _act(
    plan: LaunchPlan,
    job: Job,
    action: machine.Action,
    left: Sequence[Member] = (),
    uid: int | None = None,
) -> Diagnosis | None:
    """Carry out an action; return the evidence if it gathers that.

    ``left`` are the processes of an attempt whose reaper has gone. ``uid``: the user whose
    processes alone a signal of root may reach.
    """
    agent, workers = job.agent, job.workers()
    torchrun, rest = [agent] if agent else [], [one.identity for one in left]
    match action:
        case machine.Inspect(assessment=assessment):
            return _inspected(plan, job, assessment)
        case machine.AskWorkers():
            asked = rest or workers or torchrun
            if not asked:
                with owners.acting_as(uid):
                    job.terminate()
            _send(asked, signal.SIGTERM, uid)
            _send(rest or workers, signal.SIGCONT, uid)  # one that is stopped cannot handle it
        case machine.TerminateAgent():
            _send(torchrun, signal.SIGTERM, uid)
        case machine.Kill():
            _send([*torchrun, *workers, *rest], signal.SIGKILL, uid)
    return None


def _send(processes: Sequence[Identity], number: int, uid: int | None) -> None:
    for process_ in processes:
        # If it has become another user's, it is named if it stays.
        with owners.acting_as(uid), suppress(PermissionError):
            process_.send(number)


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
    left: str,
) -> Outcome:
    """Record how it ended; ``left`` names what outlasts it."""
    root = Path(plan.run_dir)
    rank_logs.link(plan)
    returncode = state.returncode or 0
    ending: Ending = "finished" if returncode == 0 and not state.hung else "failed"
    if state.stop_signal is not None:
        ending = "failed" if left else "stopped"
    cause = root_cause(files.tail(root / paths.agent_log(plan.attempt))) if returncode else None
    if ending == "stopped" and cause is not None and cause.killed_by:
        cause = None  # ended by the signal that it was sent
    diagnosis = None
    if ending == "failed":
        diagnosis = evidence if state.hung else crashed(plan, returncode, left=left)
        if diagnosis is not None and diagnosis is evidence and diagnosis.kind == "peer died":
            diagnosis = why_gone(plan, returncode, diagnosis)
    events.record(
        root,
        "attempt_ended",
        attempt=plan.attempt,
        outcome=ending,
        returncode=returncode,
        stop_signal=state.stop_signal,
        first_step=observer.first_step,
        step=observer.progress.step,
        rank=cause.rank if cause else None,
        kind=diagnosis.kind if diagnosis else None,
        left=left or None,
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
        left=left,
    )
