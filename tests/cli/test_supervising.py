"""Jobs that fail, hang, lose their supervisor: what an operator finds in the morning."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import psutil
import pytest

from gpuops.core.run import paths
from gpuops.system.runs import supervisor_lock, telemetry


class Night:
    """Launches of a worker on whose way things happen."""

    def __init__(self, folder, python, workers, gpuops):
        self.folder, self.python, self.workers = folder, python, workers
        self.marks = folder / "marks"
        self.marks.mkdir()
        self._gpuops = gpuops
        gpuops.environment["MARKS"] = str(self.marks)

    def start(self, *words, **environment):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return self._gpuops.start(*words, environment=environment, **pipes)

    def launch(self, *words, **environment):
        script = self.workers / "faults.py"
        own = ("--profile", "cpu", "--python", self.python)
        return self.start("launch", script, *own, *words, **environment)

    def gpuops(self, *words, **environment):
        done = self._gpuops(*words, **environment)
        return done.returncode, done.stderr + done.stdout

    @property
    def run(self):
        """The run's folder, once it is there."""
        while not (found := list((self.folder / "runs").glob("*-faults"))):
            time.sleep(0.01)
        return found[0]

    def events(self, kind=None):
        path = self.run / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if kind in {None, event["event"]}]

    def until(self, kind, count=1):
        while len(self.events(kind)) < count:
            time.sleep(0.01)
        return self.events(kind)[-1]

    def left(self):
        """Processes of the run that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("MARKS") == str(self.marks)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(name="night")
def _night(tmp_path, quick_python, workers, gpuops, own_port):  # noqa: ARG001 - ./profiles/cpu.yaml
    night = Night(tmp_path, quick_python, workers, gpuops)
    yield night
    for process in night.left():
        process.kill()


def ended(job):
    said, _ = job.communicate(timeout=60)
    return job.returncode, said


def test_a_killed_rank_costs_the_steps_since_the_last_checkpoint(night):
    """The job is started again and ends as if nothing had happened; nothing is left."""
    code, said = ended(night.launch(FAULTS="1:15:kill"))

    assert code == 0, said
    assert "Rank 1 was killed from outside (SIGKILL)" in said
    assert [event["outcome"] for event in night.events("attempt_ended")] == ["failed", "finished"]
    assert night.left() == []


def test_the_same_failure_twice_is_given_up(night):
    """It would come back every time: exit code 4, with the traceback's rank and what to do."""
    code, said = ended(night.launch(FAULTS="1:15:raise-always"))

    assert code == 4, said
    assert len(night.events("attempt_started")) == 2
    assert "not started again" in said
    assert "the same failure at step" in said.lower()
    assert night.left() == []


def test_a_stopped_rank_is_found_named_and_the_job_goes_on(night):
    """Evidence before anything is ended; the culprit is right; no person was needed."""
    code, said = ended(night.launch("--hang-timeout", "1s", FAULTS="1:15:stop"))
    found = night.events("diagnosis")[0]

    assert code == 0, said
    assert (found["kind"], found["rank"], found["sure"]) == ("rank stopped", 1, True)
    assert "Rank 1 is stopped" in (night.run / "diagnosis" / "attempt-1-hung.md").read_text()
    assert night.left() == []


def test_who_observes_ends_nothing(night):
    """The hang is diagnosed and recorded; the job stands until a person stops it."""
    job = night.launch("--observe", "--hang-timeout", "1s", FAULTS="1:15:stop")
    night.until("diagnosis")
    actions = [event["action"] for event in night.events("action")]

    assert set(actions) == {"Inspect"}
    assert night.gpuops("stop", "last", "--now")[0] == 0
    code, said = ended(job)
    assert code == 128 + signal.SIGTERM, said
    assert night.left() == []


def test_a_stop_reaches_a_rank_that_is_stopped(night):
    """It is let go on, so that all can save and leave; nobody waits for what cannot come."""
    job = night.launch("--observe", "--hang-timeout", "1s", FAULTS="1:15:stop")
    night.until("diagnosis")

    assert night.gpuops("stop", "last")[0] == 0
    code, said = ended(job)
    assert code == 128 + signal.SIGTERM, said
    assert {"Inspect", "AskWorkers"} == {event["action"] for event in night.events("action")}
    assert "saved at step 15" in (night.run / paths.rank_log(1, 1, "stdout")).read_text()


def test_no_restarts_are_made_where_none_are_wanted(night):
    """The first failure is the last."""
    code, said = ended(night.launch("--max-restarts", 0, FAULTS="0:5:kill"))

    assert code == 1, said
    assert len(night.events("attempt_started")) == 1


def test_a_hook_is_told_of_the_end(night):
    """As JSON on its stdin; without a shell."""
    told = night.folder / "told.json"
    script = night.folder / "tell.sh"
    script.write_text(f"#!/bin/sh\ncat > {told}\n")
    script.chmod(0o755)
    code, said = ended(night.launch("--on-exit", script, FAULTS="1:15:kill"))

    assert code == 0, said
    value = json.loads(told.read_text())
    assert (value["event"], value["ending"], value["attempts"]) == ("exit", "finished", 2)


def test_a_hook_is_told_of_a_hang(night):
    """With the diagnosis."""
    told = night.folder / "told.json"
    script = night.folder / "tell.sh"
    script.write_text(f"#!/bin/sh\ncat > {told}.new && mv {told}.new {told}\n")
    script.chmod(0o755)
    words = ("--on-hang", script, "--hang-timeout", "1s")
    code, said = ended(night.launch(*words, FAULTS="1:15:stop"))

    assert code == 0, said
    value = json.loads(told.read_text())
    assert (value["event"], value["diagnosis"]["kind"]) == ("hang", "rank stopped")


def test_a_detached_launch_goes_on_without_its_terminal(night):
    """It says its name and returns; the run ends by itself."""
    code, said = night.gpuops(
        "launch", night.workers / "faults.py", "--profile", "cpu", "--python", night.python,
        "--detach", STEPS="100000",
    )  # fmt: skip

    assert code == 0, said
    assert night.run.name in said
    assert night.events("attempt_ended") == []
    attached = night.start("attach", "last")
    assert attached.stdout.readline()  # it has begun to show
    assert night.gpuops("stop", "last") == (0, f"{night.run.name} has stopped.\n")
    assert ended(attached)[0] == 0
    assert night.until("attempt_ended")["outcome"] == "stopped"
    assert night.left() == []


def test_a_run_whose_supervisor_was_killed_is_adopted(night):
    """Training goes on meanwhile; who adopts it restarts it too, and knows how it ended."""
    own = {"STEPS": "30", "FAULTS": "1:20:pause-kill"}
    job = night.launch(**own)
    night.until("training")
    job.kill()
    ended(job)
    adopting = night.start("supervise", "last", **own)
    while supervisor_lock.holder(night.run) is None:
        time.sleep(0.01)
    (night.marks / "go").touch()
    code, said = ended(adopting)

    assert code == 0, said
    assert [event["outcome"] for event in night.events("attempt_ended")] == ["failed", "finished"]
    assert {sample.attempt for sample in telemetry.read(night.run).samples} == {1, 2}
    assert night.left() == []


def test_a_run_that_hangs_when_it_is_adopted_is_started_again(night):
    """Who adopts it never saw it train; who watched before did, and wrote it down."""
    own = {"STEPS": "80", "FAULTS": "1:70:sleep"}
    job = night.launch("--hang-timeout", "1s", **own)
    night.until("training")
    job.kill()
    ended(job)
    while not (night.marks / "1-70-sleep").exists():
        time.sleep(0.01)
    code, said = night.gpuops("supervise", "last", **own)

    assert code == 0, said
    assert [event["outcome"] for event in night.events("attempt_ended")] == ["failed", "finished"]
    assert night.left() == []


def test_why_a_run_ended_that_nobody_watched_is_found_out_when_asked(night):
    """Not what was once wrong with an earlier attempt."""
    own = {"FAULTS": "1:5:raise 0:15:pause-kill"}
    job = night.launch(**own)
    while not (night.marks / "0-15-pause-kill").exists():
        time.sleep(0.01)
    job.kill()
    ended(job)
    (night.marks / "go").touch()
    while night.left():
        time.sleep(0.01)
    code, said = night.gpuops("diagnose", "last", "--json")
    note, _, answer = said.partition("\n")
    value = json.loads(answer)

    assert "no supervisor saw it end" in note
    assert (value["kind"], value["rank"]) == ("signal", 0), said
    assert code == (0 if value["sure"] else 1)  # whether the kernel's kills can be counted here
    assert len(night.events("diagnosis")) == 2


def test_a_run_has_one_supervisor(night):
    """A second one is refused, with what to do instead."""
    job = night.launch(STEPS="100000")
    night.until("training")
    code, said = night.gpuops("supervise", "last")

    assert code == 1
    assert "has a supervisor already" in said
    assert night.gpuops("stop", "last")[0] == 0
    assert ended(job)[0] == 128 + signal.SIGTERM


def test_a_run_without_supervisor_can_be_stopped(night):
    """`gpuops stop` does it itself: the workers save."""
    job = night.launch(STEPS="100000")
    night.until("training")
    job.kill()
    ended(job)
    code, said = night.gpuops("stop", "last")

    assert code == 128 + signal.SIGTERM, said
    assert night.events("attempt_ended")[-1]["outcome"] == "stopped"
    assert night.left() == []


def test_a_stop_whose_supervisor_is_killed_stops_the_run_itself(night):
    """It does not say that the run has stopped while it goes on."""
    job = night.launch(FAULTS="1:15:pause-kill")
    while not (night.marks / "1-15-pause-kill").exists():
        time.sleep(0.01)
    stop = night.start("stop", "last")
    night.until("action")
    job.kill()
    ended(job)
    while supervisor_lock.holder(night.run) is None:
        time.sleep(0.01)
    (night.marks / "go").touch()
    code, said = ended(stop)

    assert code == 128 + signal.SIGTERM, said
    assert night.events("attempt_ended")[-1]["outcome"] == "stopped"
    assert night.left() == []


def test_a_run_between_two_attempts_is_not_started_by_anybody_else(night):
    """Its supervisor is about to: there would be two."""
    job = night.launch(STEPS="100000", FAULTS="0:5:kill")
    night.until("restart")
    job.send_signal(signal.SIGSTOP)  # it waits a second, and so we have time
    code, said = night.gpuops("launch", "--resume", "last")

    assert (code, len(night.events("attempt_started"))) == (2, 1), said
    assert f"unsupervised: its supervisor is stopped (kill -CONT {job.pid})" in said
    code, said = night.gpuops("supervise", "last")
    assert (code, "has a supervisor already" in said) == (1, True), said
    job.send_signal(signal.SIGCONT)
    assert night.gpuops("stop", "last")[0] == 0
    assert ended(job)[0] == 128 + signal.SIGTERM


def test_diagnose_says_why_a_job_stands_still(night):
    """Of a living run by its stacks, of a dead one by what was found out then."""
    job = night.launch("--observe", FAULTS="1:15:stop")
    while not any((night.marks / "1-15-stop").exists() for _ in [0]):
        time.sleep(0.01)
    code, said = night.gpuops("diagnose", "last", "--json")
    value = json.loads(said)

    assert (code, value["kind"], value["rank"]) == (0, "rank stopped", 1)
    night.gpuops("stop", "last", "--now")
    ended(job)
