"""What another user puts into a folder that others can write: shown perhaps, never believed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import a_plan

from gpuops import heartbeat, report
from gpuops.cli import exit_summary, verbs
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.run.telemetry import Sample
from gpuops.errors import GpuopsError, UsageError
from gpuops.launch.request import request
from gpuops.system import files, profiles
from gpuops.system.processes import process
from gpuops.system.runs import (
    beats,
    events,
    ownership,
    plan_file,
    records,
    run_dir,
    supervisor_lock,
    telemetry,
)


def run_verb(root):
    verbs._perform_of_run("evaluate", root, [str(root)], {}, None)


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
ANN, BOB = 60001, 60002
SUPERVISES = """
import signal, sys
from pathlib import Path
from gpuops.system.runs.supervisor_lock import only_one
with only_one(Path(sys.argv[1])):
    print("supervises", flush=True)
    signal.pause()
"""


@pytest.fixture(name="runs")
def _runs():
    """A folder of runs that all can read."""
    folder = Path(tempfile.mkdtemp(prefix="gpuops-planted-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def make(runs, uid=0, name="20260101-000000-toy"):
    plan = replace(a_plan(runs, name), profile_environment={"TOKEN": "hidden"})
    run_dir.create(plan)
    root = Path(plan.run_dir)
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, uid)
    return root


def give(path, uid=BOB):
    os.chown(path, uid, uid, follow_symlinks=False)


def test_secrets_of_another_user_say_nothing(runs):
    """They would change what is started, and with which variables."""
    root = make(runs)
    path = root / "secrets.json"
    files.write_json(path, {"python": "evil", "profile_environment": {"LD_PRELOAD": "/x"}})
    assert plan_file.load(root).python == "evil"
    give(path)

    assert plan_file.load(root).python == sys.executable
    with pytest.raises(GpuopsError, match=r"secrets\.json cannot be read"):
        plan_file.load_whole(root)


@pytest.mark.parametrize("planted", ["file", "link"])
def test_a_plan_that_is_replaced_after_the_run_was_found_ours_starts_nothing(
    runs, monkeypatch, planted
):
    """The file that is read must be ours, not the one that its name led to before."""
    root = make(runs)
    ask = LaunchOptions(resume=str(root))
    found_ours = ownership.require_trusted_checkpoints

    def replace_it(place):
        found_ours(place)
        (root / "plan.json").rename(root / "kept")
        if planted == "link":
            (root / "plan.json").symlink_to("kept")
        else:
            shutil.copy(root / "kept", root / "plan.json")
        give(root / "plan.json")

    monkeypatch.setattr(ownership, "require_trusted_checkpoints", replace_it)
    with pytest.raises(GpuopsError, match=r"plan\.json cannot be used: ") as refused:
        request(ask)
    assert planted == "link" or "it belongs to another user" in refused.value.message


@pytest.mark.parametrize("read", [exit_summary.supervise_to_the_end, run_verb])
def test_who_runs_what_a_plan_names_reads_only_a_trusted_one(runs, monkeypatch, read):
    """Its hooks and its interpreter would be another user's."""
    root = make(runs)
    give(root / "plan.json")
    for check in ("require_trusted", "require_trusted_checkpoints"):  # it was ours a moment ago
        monkeypatch.setattr(ownership, check, lambda *_: None)

    with pytest.raises(GpuopsError, match="it belongs to another user"):
        read(root)


def test_a_link_to_secrets_is_not_followed(runs):
    """Not even to a file of ours."""
    root = make(runs)
    (root / "secrets.json").rename(root / "kept")
    (root / "secrets.json").symlink_to("kept")

    assert plan_file.load(root).profile_environment == {"TOKEN": "***"}


@pytest.mark.parametrize("planted", ["step-9/model.safetensors", "step-99", "best"])
def test_nothing_among_our_checkpoints_is_of_another_user(runs, planted):
    """A file in one, or a link, which a trainer follows."""
    root = make(runs)
    folder, theirs = root / "checkpoints", runs / "theirs"
    (folder / "step-9").mkdir(parents=True)
    (folder / "last").symlink_to("step-9")
    theirs.mkdir()
    give(theirs)
    ownership.require_trusted_checkpoints(root)
    path = folder / planted
    if "/" in planted:
        path.touch()
        give(path)
    else:
        path.symlink_to(theirs)  # a link of ours; what it leads to is not

    with pytest.raises(UsageError, match=f"{planted} belongs to {BOB}"):
        ownership.require_trusted_checkpoints(root)
    with pytest.raises(UsageError, match=f"{planted} belongs to {BOB}"):
        ownership.require_trusted_checkpoint(folder)


def test_a_lock_that_leads_to_another_runs_lock_is_not_one(runs, gpuops):
    """Root who stops a user's run would end the run of another user."""
    victim = make(runs, ANN, "20260101-000000-victim")
    own = ["setpriv", f"--reuid={ANN}", f"--regid={ANN}", "--clear-groups"]
    words = [*own, sys.executable, "-c", SUPERVISES, str(victim)]
    supervisor = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert supervisor.stdout.readline() == "supervises\n"
        assert supervisor_lock.holder(victim).pid == supervisor.pid
        bait = make(runs, BOB, "20260101-000001-bait")
        (bait / "supervisor.lock").symlink_to(victim / "supervisor.lock")
        give(bait / "supervisor.lock")

        assert supervisor_lock.holder(bait) is None
        assert gpuops("stop", bait.name, "--runs-dir", runs).returncode == 2
        assert supervisor.poll() is None
    finally:
        with suppress(ProcessLookupError):
            supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        supervisor.stdout.close()


def test_a_page_holds_no_environment_that_is_only_linked_to(runs):
    """It may be a private file of who makes the page."""
    root, private = make(runs, BOB), runs / "config.json"
    files.write_json(private, {"auths": "secret"})
    (root / "environment.json").symlink_to(private)

    assert report.read(root).environment == {}


def test_a_profile_that_is_replaced_after_its_name_was_found_is_not_used(tmp_path, monkeypatch):
    """The file that is read must be ours; one that is named by its path need not."""
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "profiles" / "cpu.yaml"
    mine.parent.mkdir()
    shutil.copy(profiles.shipped("profiles") / "cpu.yaml", mine)
    give(mine)
    monkeypatch.setattr(profiles, "find", lambda _: Path("profiles/cpu.yaml"))

    with pytest.raises(UsageError, match="it belongs to another user"):
        profiles.load("cpu")
    assert profiles.load("profiles/cpu.yaml").name == "cpu"


def test_a_recording_or_a_log_of_events_that_is_a_link_is_not_written(runs):
    """Another user made it: what it leads to is ours."""
    root, ours = make(runs), runs / "ours"
    recorder = telemetry.Recorder(root)
    sample = Sample(at_s=1.0, attempt=1)
    recorder.take(sample)
    (root / "telemetry.jsonl").rename(ours)
    before = ours.read_text()
    for name in ("telemetry.jsonl", "events.jsonl"):
        (root / name).symlink_to(ours)
    recorder.take(sample)
    events.record(root, "planted")

    assert ours.read_text() == before


def test_a_profile_that_another_user_put_here_is_used_by_its_path_alone(tmp_path, monkeypatch):
    """It would hide the shipped one of its name, and sets variables."""
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "profiles" / "cpu.yaml"
    mine.parent.mkdir()
    shutil.copy(profiles.shipped("profiles") / "cpu.yaml", mine)
    assert profiles.find("cpu") == Path("profiles/cpu.yaml")
    give(mine)

    with pytest.raises(UsageError, match=rf"profiles/cpu\.yaml belongs to {BOB}") as refused:
        profiles.load("cpu")
    assert refused.value.hint.startswith("`--profile profiles/cpu.yaml`")
    assert profiles.load("profiles/cpu.yaml").nproc_per_node


def test_an_end_that_another_user_records_is_not_the_end(runs):
    """In a run folder of ours that a group can write: it would free the job of its supervisor."""
    root = make(runs)
    state = root / "state" / "attempt-1"
    (state / "beats").mkdir(parents=True, exist_ok=True)
    files.write_json(state / "exit.json", {"returncode": 0, "ended_at": 1.7e9})
    events.record(root, "run_ended", outcome="finished")
    heartbeat.Slot(state / "beats" / "rank-0.beat", 0).write(9, 10, None, None, "train")

    def told():
        (attempt,) = records.attempts(root)
        code = process.Job(state).recorded_exit
        steps = [beat.step for beat in beats.read(state / "beats")]
        return attempt.returncode, code, steps, len(events.read(root))

    assert (0, 0, [9], 1) == told()
    for path in (state / "exit.json", root / "events.jsonl", state / "beats" / "rank-0.beat"):
        give(path)
    assert (None, None, [], 0) == told()
    give(root)  # a run of theirs: all of it is what they say
    assert (0, 0, [9], 1) == told()
