"""One attempt, from its start to its end, with real processes."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import psutil
import pytest

from gpuops import heartbeat
from gpuops.core.hang.detector import HangPolicy
from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile, Stop
from gpuops.core.run import paths
from gpuops.core.supervision.attempt import Phase
from gpuops.launch.launch import recall
from gpuops.supervise.observer import AttemptObserver
from gpuops.supervise.supervisor import begin, make_folder, watch
from gpuops.system import files
from gpuops.system.processes import process
from gpuops.system.processes.identity import Identity
from gpuops.system.runs import events, rank_logs, records, telemetry


@pytest.fixture(name="launch_plan")
def _launch_plan(tmp_path, workers, quick_python):
    def make(*, save_s=20.0, terminate_s=0.3, **environment):
        profile = Profile(
            name="two",
            device="cpu",
            workers=2,
            environment=environment,
            stop=Stop(save_s=save_s, terminate_s=terminate_s),
        )
        return plan(
            profile,
            None,
            LaunchRequest(
                target=Target(kind="script", name="beats", entry=str(workers / "beats.py")),
                run_id="beats-1",
                run_dir=str(tmp_path / "runs" / "beats-1"),
                python=quick_python,
                working_dir=str(tmp_path),
            ),
        )

    return make


def supervise(plan_made, show):
    """One attempt, from its start to its end."""
    launch = recall(plan_made)
    make_folder(launch)
    with process.SignalQueue() as signals:
        return watch(launch, begin(launch), show, signals)


def stop_when_training(launch, *numbers):
    """A screen that sends this process the next signal at each look, once both ranks train."""
    left = list(numbers)

    def show(_look):
        if left and len(heartbeat.read_all(Path(launch.state_dir, "beats"))) == 2:
            os.kill(os.getpid(), left.pop(0))

    return show


def survivors(launch):
    """Processes that still carry the run's id."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("GPUOPS_BEAT_DIR", "").startswith(launch.run_dir):
                found.append(one)
        except psutil.Error:
            continue
    return found


def test_a_job_runs_to_its_end(launch_plan):
    """The looks show it starting, training and done; rank 0's lines come through in order."""
    launch, looks = launch_plan(STEPS="30"), []
    outcome = supervise(launch, looks.append)

    assert outcome.ending == "finished"
    assert outcome.returncode == 0
    assert (outcome.progress.step, outcome.progress.total_steps) == (30, 30)
    assert [line for look in looks for line in look.lines] == ["begins", "done"]
    assert looks[-1].phase is Phase.DONE
    assert survivors(launch) == []


def test_a_torchrun_that_dies_while_it_is_looked_at_ends_no_supervisor(launch_plan, monkeypatch):
    """There at one moment, and gone at the next."""
    seen = itertools.cycle([Identity(0, 0), None])
    monkeypatch.setattr(process.Job, "agent", property(lambda _job: next(seen)))

    assert supervise(launch_plan(STEPS="1"), lambda _look: None).ending == "finished"


def test_the_run_folder_tells_the_story(launch_plan):
    """Plan, events, logs of every rank and the exit record lie in the run folder."""
    launch = launch_plan(STEPS="5")
    supervise(launch, lambda _look: None)
    root = Path(launch.run_dir)
    record = records.load(root)

    assert record is not None
    assert record.status == "finished"
    story = [event["event"] for event in events.read(root)]
    assert (story[0], story[-1]) == ("attempt_started", "attempt_ended")
    observed = [event["what"] for event in events.read(root) if event["event"] == "observed"]
    assert observed == ["Begun", "Exited"]
    assert rank_logs.ranks(root, 1) == [0, 1]
    assert "begins" in (root / paths.rank_log(1, 1, "stdout")).read_text()
    assert record.attempts[0].returncode == 0
    recorded = telemetry.read(root).samples
    assert {1} == {sample.attempt for sample in recorded}


def test_who_only_looks_records_nothing(launch_plan):
    """One recording has one writer: somebody who watches the same run adds no samples."""
    launch = launch_plan(STEPS="5")
    root = Path(launch.run_dir)
    recalled = recall(launch)
    make_folder(recalled)
    job = begin(recalled)
    with (
        process.SignalQueue() as signals,
        AttemptObserver(recalled, HangPolicy()) as observer,
    ):
        while job.poll() is None:
            list(signals.wait(job.pid, 0.05))
            observer.poll(job)

    assert observer.progress.step == 5
    assert () == telemetry.read(root).samples


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_lets_the_workers_save(launch_plan, number):
    """One stop signal: every worker is asked, saves and leaves by itself; nobody is killed."""
    launch = launch_plan(STEPS="100000")
    outcome = supervise(launch, stop_when_training(launch, number))
    logs = [Path(launch.run_dir) / paths.rank_log(1, rank, "stdout") for rank in (0, 1)]

    assert (outcome.ending, outcome.stop_signal) == ("stopped", number)
    assert outcome.returncode == 0
    assert all("saved at step" in log.read_text() for log in logs)
    assert survivors(launch) == []


def test_a_second_stop_kills(launch_plan):
    """Workers that would take their time are ended at once by a second Ctrl-C."""
    launch = launch_plan(STEPS="100000", FAULT="ignore")
    outcome = supervise(launch, stop_when_training(launch, signal.SIGINT, signal.SIGINT))
    root = Path(launch.run_dir)

    assert outcome.ending == "stopped"
    assert [e["action"] for e in events.read(root) if e["event"] == "action"] == [
        "AskWorkers",
        "Kill",
    ]
    assert survivors(launch) == []


def test_the_ladder_ends_workers_that_ignore_it(launch_plan):
    """Asked, terminated, killed: each rung after its time, and nothing is left."""
    launch = launch_plan(STEPS="100000", FAULT="ignore", save_s=0.2, terminate_s=0.2)
    outcome = supervise(launch, stop_when_training(launch, signal.SIGTERM))
    root = Path(launch.run_dir)

    assert (outcome.ending, outcome.stop_signal) == ("stopped", signal.SIGTERM)
    assert [e["action"] for e in events.read(root) if e["event"] == "action"] == [
        "AskWorkers",
        "TerminateAgent",
        "Kill",
    ]
    assert survivors(launch) == []


def test_a_crash_names_the_rank(launch_plan):
    """The first rank that failed is named, with its exit code, and its words are kept."""
    launch = launch_plan(STEPS="100000", FAULT="crash")
    outcome = supervise(launch, lambda _look: None)

    assert outcome.ending == "failed"
    assert outcome.failure is not None
    assert (outcome.failure.rank, outcome.failure.exitcode) == (1, 1)
    log = Path(launch.run_dir) / paths.rank_log(1, 1, "stderr")
    assert "the data is of no use" in log.read_text()
    assert survivors(launch) == []


def test_workers_of_a_killed_torchrun_are_ended(launch_plan):
    """A SIGKILLed torchrun leaves no worker behind: the reaper adopts and ends them."""
    launch = launch_plan(STEPS="100000")

    def kill_agent(look):
        record = Path(launch.state_dir, "process.json")
        if look.progress.step is not None and look.phase is Phase.RUNNING and record.exists():
            agent = files.read_json(record)["agent"]["pid"]
            if psutil.pid_exists(agent):
                os.kill(agent, signal.SIGKILL)

    outcome = supervise(launch, kill_agent)

    assert outcome.ending == "failed"
    assert outcome.returncode == -signal.SIGKILL
    assert survivors(launch) == []


def test_a_stop_before_anything_has_begun_is_not_lost(launch_plan):
    """Ctrl-C in the first moments ends the job at once: nobody waits for a save of nothing."""
    launch = launch_plan(STEPS="100000", save_s=300.0)
    left = [signal.SIGINT]

    def at_once(_look):
        if left:
            os.kill(os.getpid(), left.pop())

    outcome = supervise(launch, at_once)

    assert (outcome.ending, outcome.stop_signal) == ("stopped", signal.SIGINT)
    assert survivors(launch) == []


def test_a_save_that_fails_is_not_passed_over(launch_plan):
    """Asked to stop, a rank raised instead of saving: stopped, but its failure is known."""
    launch = launch_plan(STEPS="100000", FAULT="unsaved")
    outcome = supervise(launch, stop_when_training(launch, signal.SIGINT))

    assert (outcome.ending, outcome.stop_signal) == ("stopped", signal.SIGINT)
    assert outcome.failure is not None
    assert outcome.failure.exitcode == 1
    assert outcome.returncode != 0
