"""Runs read from their folders and found; whatever else lies beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from run_folders import make, record_process

from gpuops import heartbeat, reaper
from gpuops.errors import MachineError, UsageError
from gpuops.system import files
from gpuops.system.runs import rank_logs, records


def test_a_run_is_shown_with_its_step(tmp_path):
    """The slowest rank's step, and how it ended."""
    root = make(tmp_path, returncode=0, ended_at=9.0)
    record_process(root)
    for rank, step in ((0, 7), (1, 5)):
        path = root / "state" / "attempt-1" / "beats" / f"rank-{rank}.beat"
        heartbeat.Slot(path, rank).write(step, 10, None, None, "train")

    run = records.load(root)

    assert ("toy", "cpu", 2, "finished") == (run.target, run.profile, run.workers, run.status)
    assert (5, 10, 5.0, 9.0) == (run.step, run.total_steps, run.started_at, run.ended_at)


def test_a_run_that_never_beat_has_no_step(tmp_path):
    """Absent is not zero."""
    run = records.load(make(tmp_path))

    assert (None, None, None, None) == (run.step, run.total_steps, run.started_at, run.ended_at)
    assert "lost" == run.status


@pytest.mark.parametrize("who", ["reaper", "agent"])
def test_a_run_is_running_while_either_of_its_processes_lives(tmp_path, who):
    """A job whose shim was killed still holds the GPUs, and must not be started twice."""
    root = make(tmp_path)
    record_process(root, **{who: reaper.identity(os.getpid())})

    assert "running" == records.load(root).status
    assert records.attempts(root)[0].alive


def test_a_recycled_pid_is_not_the_run(tmp_path):
    """A process with the pid but another start time, or of another boot, is somebody else."""
    root = make(tmp_path)
    mine = reaper.identity(os.getpid())
    record_process(root, reaper={**mine, "start_ticks": mine["start_ticks"] - 1})
    assert "lost" == records.load(root).status

    record_process(root, reaper={**mine, "boot_id": "another"})
    assert "lost" == records.load(root).status


def test_a_run_of_another_host_is_elsewhere_until_its_end_is_recorded(tmp_path):
    """Its pids mean nothing here, even if a process has one of them and started at that tick."""
    root = make(tmp_path)
    other = {**reaper.identity(os.getpid()), "host": "n2", "boot_id": "another"}
    record_process(root, reaper=other)

    assert "elsewhere" == records.load(root).status
    assert ("n2", False) == (records.attempts(root)[0].elsewhere, records.attempts(root)[0].alive)
    with pytest.raises(UsageError, match="was started on n2"):
        records.require_this_host(root)

    files.write_json(root / "state" / "attempt-1" / "exit.json", {"returncode": 0})
    assert "finished" == records.load(root).status
    records.require_this_host(root)


def test_a_zombie_is_no_running_run(tmp_path):
    """In a container nobody may reap it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    root = make(tmp_path)
    record_process(root, reaper=reaper.identity(child.pid))
    assert "running" == records.load(root).status

    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert "lost" == records.load(root).status
    child.wait()


ODD = {
    "text": '{"run_id": "x", "target": "s"}',
    "types": '{"run_id": "x", "nodes": [{"ranks": 2}, 7], "profile": 3, "target": {"name": 5}}',
    "bare": '{"run_id": "x"}',
}
NO_RUNS = {
    "half": '{"run_id": "x", "tar',
    "number": '{"run_id": 5}',
    "foreign": '{"name": "somebody else\'s plan"}',
    "list": "[1, 2]",
    "empty": "",
    "bomb": "[" * 100_000,
    "binary": "\x00\x01",
}


def test_what_is_no_run_is_passed_over(tmp_path):
    """Files, foreign folders, half plans and looping links hide no run."""
    make(tmp_path)
    for name, text in NO_RUNS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text(text)
    (tmp_path / "foreign-folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder-plan" / "plan.json").mkdir(parents=True)

    assert ["20260101-000000-toy"] == [run.run_id for run in records.load_all(tmp_path)]


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_a_plan_of_odd_types_is_still_shown(tmp_path, text):
    """What is unknown is shown as unknown; the types are those of a run."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "plan.json").write_text(text)

    run = records.load(tmp_path / "odd")

    assert isinstance(run.target, str)
    assert isinstance(run.profile, str)
    assert isinstance(run.workers, int)


@pytest.mark.parametrize("name", ["process.json", "exit.json"])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '{"agent": 3, "reaper": []}',
        '{"reaper": {"host": "h", "boot_id": "B", "pid": "x", "start_ticks": null}}',
        '{"reaper": {"host": "h", "boot_id": "B", "pid": -1, "start_ticks": 1}}',
        '{"reaper": {"host": "h", "boot_id": "B", "pid": 1, "start_ticks": 1, "more": 1}}',
        '{"reaper": {"host": 1, "boot_id": [], "pid": 1, "start_ticks": 1}}',
        '{"reaper": {"pid": 1, "start_ticks": 1}}',
        '{"returncode": "x", "ended_at": [], "started_at": {}}',
        '{"returncode": 1e999, "ended_at": null}',
    ],
)
def test_odd_records_of_an_attempt_are_no_traceback(tmp_path, name, text):
    """Somebody may have touched the files."""
    root = make(tmp_path)
    path = root / "state" / "attempt-1" / name
    path.write_text(text.replace('"B"', json.dumps(reaper.boot_id())))

    assert records.load(root) is not None
    assert not records.attempts(root)[0].alive


def test_odd_folders_among_the_attempts_are_passed_over(tmp_path):
    """Only ``attempt-<number>`` is one."""
    root = make(tmp_path)
    for name in ("attempt-", "attempt-x", "attempt-²", "attempt--1", "other"):
        (root / "state" / name).mkdir()
        (root / "logs" / "attempt-1" / name.replace("attempt", "rank")).mkdir()

    assert [1] == [attempt.number for attempt in records.attempts(root)]
    assert [] == rank_logs.ranks(root, 1)


def test_runs_are_listed_the_newest_first(tmp_path):
    """By their names, which begin with their time."""
    for name in ("20260102-000000-b", "20260101-000000-a", "20260103-000000-c"):
        make(tmp_path, name)

    assert ["c", "b", "a"] == [run.run_id[-1] for run in records.load_all(tmp_path)]
    assert "20260103-000000-c" == records.find(tmp_path, "last").name


def test_no_folder_of_runs_is_no_runs(tmp_path):
    """Nothing was launched yet."""
    (tmp_path / "file").touch()

    assert [] == records.load_all(tmp_path / "runs")


def test_a_folder_of_runs_that_cannot_be_read_is_no_empty_one(tmp_path):
    """Absent and unreadable are told apart."""
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(MachineError, match="cannot be read"):
        records.load_all(tmp_path / "loop")


@pytest.fixture(name="three")
def _three(tmp_path):
    """Three runs."""
    for name in ("20260101-000000-toy", "20260101-000000-toy-2", "20260102-000000-rvq"):
        make(tmp_path, name)
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("last", "20260102-000000-rvq"),
        ("20260101-000000-toy", "20260101-000000-toy"),
        ("toy-2", "20260101-000000-toy-2"),
        ("rvq", "20260102-000000-rvq"),
        ("0102", "20260102-000000-rvq"),
    ],
)
def test_a_run_is_found_by_last_its_name_or_a_part(three, reference, name):
    """A whole name wins over being a part of another."""
    assert three / name == records.find(three, reference)


def test_a_run_is_found_by_its_folder(three, tmp_path_factory, monkeypatch):
    """Wherever it lies, absolute or from here, whatever the folder of runs is."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    root = three / "20260102-000000-rvq"
    monkeypatch.chdir(three)

    assert root == records.find(elsewhere, str(root))
    assert root == records.find(elsewhere, f"./{root.name}")
    monkeypatch.chdir(three.parent)
    assert root == records.find(elsewhere, f"{three.name}/{root.name}/")


def test_a_reference_to_several_runs_is_refused(three):
    """With the names of those that are meant."""
    with pytest.raises(UsageError, match="means 2 runs") as caught:
        records.find(three, "0101")
    assert "20260101-000000-toy-2" in caught.value.message


@pytest.mark.parametrize(
    "reference", ["nope", "a/b", "n" * 300, f"a/{'n' * 300}", "../../etc", "/"]
)
def test_a_reference_to_no_run_lists_those_there_are(three, reference):
    """Odd names included."""
    with pytest.raises(UsageError, match="there is no run") as caught:
        records.find(three, reference)
    assert "20260102-000000-rvq" in caught.value.hint


@pytest.mark.parametrize("reference", ["last", "nope", ""])
def test_without_runs_nothing_is_found(tmp_path, reference):
    """And the folder that was looked in is named."""
    with pytest.raises(UsageError, match="there is no run") as caught:
        records.find(tmp_path / "runs", reference)
    assert "holds no runs yet" in caught.value.hint
