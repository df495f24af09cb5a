"""When a run is evaluated, saved and drawn from; a run that only shows that it would train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from saved import difference, saved
from toy import Config, at, figures, train, train_on_ranks

from trainers.engine.checkpoint import files
from trainers.engine.errors import TrainerError


def steps(folder: Path) -> list[int]:
    return [files.step_of(path) for path in files.all_in(folder / "checkpoints")]


def test_cadence_in_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two steps are an epoch: it is evaluated every second, and the line says which it is."""
    loop = {"total_iter": None, "epochs": 5, "eval_epochs": 2, "eval_iter": 1, "print_iter": 3}

    result = train(at(tmp_path / "run", **loop))

    assert result.step == 10
    evaluated = [(line["step"], line["epoch"]) for line in figures(tmp_path / "run", "val")]
    assert evaluated == [(4, 2), (8, 4), (10, 5)]
    told = [(line["step"], line["epoch"]) for line in figures(tmp_path / "run", "train")]
    assert told == [(3, 2), (6, 3), (9, 5), (10, 5)]
    assert "epoch 2/5 · step 3/10 · " in capsys.readouterr().out
    assert [(one["step"], one["epoch"]) for one in result.history] == evaluated
    assert result.history[-1]["loss"] == result.metrics["loss"]


@pytest.mark.parametrize("cadence", [{"save_epochs": 2}, {"keep_every": 4}])
def test_checkpoints_at_a_cadence_that_was_named_stay(tmp_path: Path, cadence: dict) -> None:
    """Whatever is pruned beside them."""
    loop = {"total_iter": 10, "save_iter": 1, "eval_iter": 100, "keep": 1}

    train(at(tmp_path / "run", **loop, **cadence))

    assert steps(tmp_path / "run") == [4, 8, 10]


def test_all_checkpoints_can_be_kept(tmp_path: Path) -> None:
    """By the word."""
    train(at(tmp_path / "run", total_iter=6, save_iter=1, keep="all"))

    assert steps(tmp_path / "run") == [1, 2, 3, 4, 5, 6]


def test_a_stop_between_epochs_changes_nothing(tmp_path: Path) -> None:
    """The resume law holds for cadences in epochs and for samples."""
    loop = {"eval_epochs": 2, "save_epochs": 1, "sample_iter": 3}
    train(at(tmp_path / "whole", **loop))
    train(at(tmp_path / "part", **loop), {(0, 4): "sigterm"})
    train(at(tmp_path / "part", resume="auto", **loop))

    assert difference(saved(tmp_path / "whole"), saved(tmp_path / "part")) == ""


def test_samples_leave_training_alone(tmp_path: Path) -> None:
    """Drawn in eval mode without gradients; the weights are those of a run without samples."""
    train(at(tmp_path / "without"))

    train(at(tmp_path / "with", sample_iter=5))

    drawn = sorted(path.name for path in (tmp_path / "with" / "samples").iterdir())
    assert drawn == ["step_10.txt", "step_14.txt", "step_5.txt"]
    assert (tmp_path / "with" / "samples" / "step_5.txt").read_text().startswith("False False ")
    without, drawing = saved(tmp_path / "without"), saved(tmp_path / "with")
    assert difference(without.weights, drawing.weights) == ""
    assert difference(without.trainer, drawing.trainer) == ""


def test_a_drawing_that_fails_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on to its end."""
    result = train(at(tmp_path / "run", sample_iter=5), {(0, 5): "cannot draw"})

    assert result.step == 14
    out = capsys.readouterr().out
    assert "warning: no samples of step 5 could be drawn: no such font\n" in out


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_dry_run_writes_nothing(tmp_path: Path, ranks: int) -> None:
    """One pass forward and back on every rank; no folder is made."""
    config = at(tmp_path / "run")
    config = replace(config, run=replace(config.run, dry_run=True))

    ended = train_on_ranks(config, ranks)

    assert [rank.exit_code for rank in ended] == [0] * ranks
    assert "dry run: a step's passes work, nothing is saved · loss " in ended[0].stdout
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_run_that_is_there_leaves_it(tmp_path: Path) -> None:
    """It goes on from the checkpoint that is asked for, and touches none."""
    train(at(tmp_path / "run", total_iter=4, save_iter=2))
    before = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    config = at(tmp_path / "run", resume=str(tmp_path / "run/checkpoints/step-00000002"))

    train(replace(config, run=replace(config.run, dry_run=True)))

    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == before


def test_a_dry_run_finds_what_is_not_finite(tmp_path: Path) -> None:
    """As training would."""
    config = at(tmp_path / "run", Config())

    with pytest.raises(TrainerError, match="step 1: penalty is not finite on rank 0"):
        train(replace(config, run=replace(config.run, dry_run=True)), {(0, 1): "nan"})
