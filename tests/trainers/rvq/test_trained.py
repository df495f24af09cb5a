"""A checkpoint is whole by itself: it can be copied and used anywhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from motion_data import small_config, write_data

from trainers.engine.errors import TrainerError
from trainers.engine.trained import read_json, run_folder
from trainers.rvq import describe, evaluate
from trainers.rvq.train import train
from trainers.rvq.trained import load


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A trained run in run/; its data set in data/ was named from beside it."""
    folder = tmp_path_factory.mktemp("whole")
    write_data(folder / "data", {"train": [40, 33], "val": [21, 8]})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(small_config(Path("run"), Path("data")))
    return folder / "run"


def test_a_copied_step_is_evaluated_from_anywhere(run, tmp_path, monkeypatch, capsys):
    """Statistics and the place of the data are inside; the figures are those of the run's own."""
    here = evaluate.evaluate(run)
    copied = tmp_path / "copied" / "mine"
    shutil.copytree(run / "checkpoints" / "best", copied)
    monkeypatch.chdir(tmp_path)

    evaluate.main(["--checkpoint", str(copied), "--json"])

    found = json.loads(capsys.readouterr().out)
    assert found["summary"] == here.to_dict()["summary"]
    assert found["data"] == f"{run.parent}/data/val"
    assert json.loads((copied.parent / "evaluation.json").read_text()) == found
    describe.main(["--checkpoint", str(copied)])
    assert "7 joints" in capsys.readouterr().out


def test_a_path_stays_as_it_was_typed_where_the_run_was_started(run, monkeypatch):
    """What verbs print there is what the user knows."""
    monkeypatch.chdir(run.parent)

    assert load(run).config.dataset.data == "data"


def earlier(run, to):
    """A run as earlier versions left it: statistics beside the checkpoints alone."""
    shutil.copytree(run, to, symlinks=True)
    statistics = json.loads((to / "statistics.json").read_text())
    statistics["mean_pose"] = statistics.pop("baseline")
    (to / "statistics.json").write_text(json.dumps(statistics))
    for path in (to / "checkpoints").glob("step-*"):
        about = json.loads((path / "checkpoint.json").read_text())
        for name in ("statistics.json", "data.json"):
            (path / name).unlink()
            del about["files"][name]
        del about["working_dir"], about["batch"]
        (path / "checkpoint.json").write_text(json.dumps(about))
    return to


def test_a_run_of_an_earlier_version_loads(run, tmp_path, monkeypatch):
    """Its statistics lie in the run's folder, and its data is named from where one stands."""
    monkeypatch.chdir(run.parent)
    before = earlier(run, tmp_path / "earlier")

    found = evaluate.evaluate(before)

    assert found.to_dict()["summary"] == evaluate.evaluate(run).to_dict()["summary"]


def test_a_copied_step_of_an_earlier_version_is_refused(run, tmp_path):
    """In a sentence that names what is missing."""
    step = (earlier(run, tmp_path / "earlier") / "checkpoints" / "best").resolve()
    copied = shutil.copytree(step, tmp_path / "alone" / step.name)

    with pytest.raises(TrainerError, match=r"statistics\.json cannot be read") as caught:
        load(copied)

    assert "an earlier version needs the statistics.json" in caught.value.hint


def test_damaged_statistics_are_refused(run, tmp_path):
    """The checksum tells, before anything is read."""
    copied = shutil.copytree(run / "checkpoints" / "best", tmp_path / "step")
    (copied / "statistics.json").write_text("{}")

    with pytest.raises(TrainerError, match=r"statistics\.json has 2 bytes"):
        load(copied)


def test_another_trainers_checkpoint_is_refused(run, tmp_path):
    """By name."""
    copied = shutil.copytree(run / "checkpoints" / "best", tmp_path / "step")
    about = json.loads((copied / "checkpoint.json").read_text())
    (copied / "checkpoint.json").write_text(json.dumps({**about, "trainer": "float"}))

    with pytest.raises(TrainerError, match="is a checkpoint of float, not of rvq"):
        load(copied)


def test_the_checkpoint_says_where_it_was_trained(run):
    """The directory, and its weights by their checksum."""
    found = load(run)

    assert found.working_dir == run.parent
    assert run_folder(found.path) == run
    assert len(found.weights) == 8
    assert np.isfinite(read_json(found.path, "statistics.json")["mean"]).all()
