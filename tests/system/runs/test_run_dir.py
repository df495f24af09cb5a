"""The run folder: made, read, found; whatever else lies beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpuops import heartbeat, reaper
from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.core.run import paths
from gpuops.errors import GpuopsError, MachineError, UsageError
from gpuops.system import files
from gpuops.system.runs import checkpoints, events, plan_file, rank_logs, records, run_dir

CPU = Profile(name="cpu", device="cpu", workers=2)


def a_plan(runs, run_id="20260101-000000-toy", attempt=1):
    """The plan of a script on two workers."""
    request = LaunchRequest(
        target=Target(kind="script", name="toy", entry="toy.py"),
        run_id=run_id,
        run_dir=str(runs / run_id),
        python=sys.executable,
        attempt=attempt,
        working_dir=str(runs),
    )
    return plan(CPU, None, request)


def make(runs, run_id="20260101-000000-toy", **exit_record):
    """A run's folder, with how its attempt ended."""
    launch = a_plan(runs, run_id)
    run_dir.create(launch)
    if exit_record:
        files.write_json(Path(launch.state_dir, "exit.json"), exit_record)
    return Path(launch.run_dir)


def record_process(root, **identities):
    """A process record of this boot, as the reaper leaves it."""
    files.write_json(
        root / "state" / "attempt-1" / "process.json",
        {
            "agent": None,
            "reaper": None,
            "started_at": 5.0,
            **identities,
        },
    )


def test_a_run_is_made_with_its_plan(tmp_path):
    """Plan, logs and state are there before anything starts."""
    root = make(tmp_path)

    assert a_plan(tmp_path) == plan_file.load(root)
    assert (root / "logs" / "attempt-1").is_dir()
    assert (root / "state" / "attempt-1" / "beats").is_dir()


def test_a_second_attempt_lives_in_the_same_run(tmp_path):
    """Beside the first one's logs and state; the plan is the newest."""
    root = make(tmp_path)
    run_dir.create(a_plan(tmp_path, attempt=2))

    assert [1, 2] == [attempt.number for attempt in records.attempts(root)]
    assert 2 == plan_file.load(root).attempt


def test_what_a_killed_supervisor_was_writing_goes_with_the_next_attempt(tmp_path):
    """Its half-written files, and nobody else's."""
    root = Path(a_plan(tmp_path).run_dir)
    run_dir.create(a_plan(tmp_path))
    (root / "diagnosis").mkdir()
    half = [root / ".plan.json.0123abcd", root / "diagnosis" / ".attempt-1-hung.md.89ef4567"]
    others = [root / ".gitignore", root / ".notes.txt.swp"]
    for path in (*half, *others):
        path.touch()
    run_dir.create(a_plan(tmp_path, attempt=2))

    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in others)


def test_two_launches_never_share_a_run(tmp_path):
    """The second of two that chose the same name is told so, and changes nothing."""
    root = make(tmp_path)
    before = (root / "plan.json").read_text()

    with pytest.raises(GpuopsError, match="taken by another launch"):
        run_dir.create(a_plan(tmp_path))
    assert before == (root / "plan.json").read_text()


def test_a_run_that_cannot_be_made_is_a_sentence(tmp_path):
    """A file where the folder of runs should be."""
    (tmp_path / "runs").touch()

    with pytest.raises(GpuopsError, match=r"cannot be made: Not a directory") as caught:
        run_dir.create(a_plan(tmp_path / "runs"))
    assert "--runs-dir" in caught.value.hint


def test_run_ids_sort_by_time_and_are_never_taken(tmp_path):
    """A name that is there already gets a number."""
    first = run_dir.new_run_id(tmp_path, "toy", 1_000_000)
    (tmp_path / first).mkdir()
    second = run_dir.new_run_id(tmp_path, "toy", 1_000_000)

    assert re.fullmatch(r"\d{8}-\d{6}-toy", first)
    assert f"{first}-2" == second
    assert first < run_dir.new_run_id(tmp_path, "toy", 1_000_001)


def test_the_folder_of_runs_is_given_or_of_the_environment_or_here(tmp_path, monkeypatch):
    """In that order, and always absolute."""
    monkeypatch.chdir(tmp_path)
    assert tmp_path / "runs" == run_dir.runs_dir(None)
    monkeypatch.setenv("GPUOPS_RUNS_DIR", "elsewhere")
    assert tmp_path / "elsewhere" == run_dir.runs_dir(None)
    assert tmp_path / "mine" == run_dir.runs_dir(Path("mine"))


def test_events_come_back_in_order(tmp_path):
    """Each with its time and its fields."""
    events.record(tmp_path, "started", attempt=1)
    events.record(tmp_path, "ended", outcome="finished", note="line\nbreak \u2028 ü")

    first, second = events.read(tmp_path)

    assert ("started", 1) == (first["event"], first["attempt"])
    assert "line\nbreak \u2028 ü" == second["note"]
    assert first["time"] <= second["time"]


def test_a_torn_last_event_is_not_there_yet(tmp_path):
    """Half a line is no event, and does no harm to those before."""
    events.record(tmp_path, "started")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "event": "en')

    assert ["started"] == [event["event"] for event in events.read(tmp_path)]


def test_an_event_after_a_torn_one_is_not_lost(tmp_path):
    """What a crash left of the line before does not swallow the next."""
    events.record(tmp_path, "started")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "event": "en')
    events.record(tmp_path, "attempt_started", attempt=2)

    assert ["started", "attempt_started"] == [e["event"] for e in events.read(tmp_path)]


def test_events_of_two_writers_never_mix(tmp_path):
    """A supervisor and a person's command may record at the same moment."""
    writers = [
        threading.Thread(
            target=lambda n=n: [events.record(tmp_path, f"e{n}", fill="x" * 500) for _ in range(50)]
        )
        for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert 200 == len(events.read(tmp_path))


def test_events_that_cannot_be_written_stop_nothing(tmp_path):
    """A full or vanished disk does not end the supervision of a job."""
    events.record(tmp_path / "gone", "started")

    assert [] == events.read(tmp_path / "gone")


def test_lines_that_are_no_objects_are_passed_over():
    """Blank lines, other values, half objects, bombs."""
    lines = ["", "{}", "3", "[1]", '{"a": 1}', '{"a":', "nonsense", "[" * 100_000, "null"]

    assert [{}, {"a": 1}] == files.parse_json_lines(lines)


def test_a_line_is_only_ended_by_a_newline(tmp_path):
    """JSON may hold other line separators as they are."""
    (tmp_path / "m.jsonl").write_text('{"a": "x\u2028y\x85z"}\n{"b": 1}', encoding="utf-8")

    assert [{"a": "x\u2028y\x85z"}, {"b": 1}] == files.read_json_lines(tmp_path / "m.jsonl")


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
        records.insist_here(root)

    files.write_json(root / "state" / "attempt-1" / "exit.json", {"returncode": 0})
    assert "finished" == records.load(root).status
    records.insist_here(root)


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


def test_outputs_elsewhere_are_linked(tmp_path):
    """A trainer may write where it likes; the run folder leads there."""
    root, out = make(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "train.log").write_text("step 1")
    run_dir.link_outputs(root, out)
    run_dir.link_outputs(root, out)

    assert "step 1" == (root / "train.log").read_text()
    run_dir.link_outputs(out, out)
    assert not (out / "checkpoints").is_symlink()


def test_rank_logs_have_names_to_find(tmp_path):
    """torchrun's own folders have a random part; ours do not."""
    launch = a_plan(tmp_path)
    run_dir.create(launch)
    logs = Path(launch.log_dir)
    for rank in ("0", "1", "error.json"):
        (logs / "none_abc123" / "attempt_0" / rank).mkdir(parents=True)
    (logs / "none_abc123" / "attempt_0" / "1" / "stderr.log").write_text("oh")
    for _ in range(2):
        rank_logs.link(launch)

    root = Path(launch.run_dir)
    assert "oh" == (root / paths.rank_log(1, 1, "stderr")).read_text()
    assert [0, 1] == rank_logs.ranks(root, 1)


def test_a_disk_that_takes_no_link_does_not_end_the_supervision(tmp_path):
    """Names to find are a comfort; a job under way matters more."""
    launch = a_plan(tmp_path)
    run_dir.create(launch)
    nested = Path(launch.log_dir, f"none_{'x' * 200}", "attempt_0", "9" * 251)
    nested.mkdir(parents=True)  # rank-999... is longer than a name may be

    rank_logs.link(launch)


def test_checkpoints_are_listed_with_what_points_to_them(tmp_path):
    """Oldest first; hidden (half-written) ones are none."""
    folder = tmp_path / "checkpoints"
    for name in ("step-00000010", "step-00000020", ".step-00000030.tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "last").symlink_to("step-00000020")
    (folder / "best").symlink_to("step-00000020")

    assert [("step-00000010", ""), ("step-00000020", "best, last")] == checkpoints.list_checkpoints(
        folder
    )
    assert [] == checkpoints.list_checkpoints(tmp_path / "none")
