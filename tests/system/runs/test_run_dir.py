"""The folder of a run: made with its plan, named, linked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from run_folders import a_plan, make

from gpuops.errors import GpuopsError
from gpuops.system.runs import plan_file, records, run_dir


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


def test_an_attempt_whose_plan_cannot_be_written_is_none(tmp_path, monkeypatch):
    """As on a full disk: else it would count as the run's last one."""
    run_dir.create(a_plan(tmp_path))

    def refuse(*_, **__):
        raise GpuopsError("No space left on device.")

    monkeypatch.setattr(run_dir.files, "write_json", refuse)
    with pytest.raises(GpuopsError):
        run_dir.create(a_plan(tmp_path, attempt=2))

    assert [1] == [one.number for one in records.attempts(tmp_path / "20260101-000000-toy")]
    assert not list(tmp_path.rglob("attempt-2"))


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
