"""k steps, save, load, n - k steps: the same as n steps, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from saved import difference, saved
from toy import Config, at, figures, train, train_on_ranks

if TYPE_CHECKING:
    from pathlib import Path


def evaluations(folder: Path) -> list[tuple[int, float]]:
    """When a run was evaluated, and what it found."""
    return [(line["step"], line["loss"]) for line in figures(folder, "val")]


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one rank that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(at(folder))
    return folder


@pytest.fixture(name="whole_of_two", scope="module")
def _whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole-of-two") / "run"
    assert [rank.exit_code for rank in train_on_ranks(at(folder), 2)] == [0, 0]
    return folder


# The stop is one step after the signal: steps 3 (in the first epoch), 5 (an evaluation is due),
# 6 (a save is due), 12 (the last milestone is behind).
@pytest.mark.parametrize("signalled", [2, 4, 5, 11])
def test_stopped_and_resumed_equals_uninterrupted(
    whole: Path, tmp_path: Path, signalled: int
) -> None:
    """Weights, buffers, EMA, optimizer, counters and generators agree after a stop by SIGTERM."""
    folder = tmp_path / "run"

    first = train(at(folder), {(0, signalled): "sigterm"})
    assert (signalled + 1, 15) == (first.step, first.stopped_by)
    second = train(at(folder, resume="auto"))

    assert (second.step, second.stopped_by) == (14, None)
    assert evaluations(whole) == evaluations(folder)
    assert difference(saved(whole), saved(folder)) == ""


def test_crashed_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path) -> None:
    """What a process lost that died between two checkpoints is done again, the same."""
    folder = tmp_path / "run"

    (rank,) = train_on_ranks(at(folder), 1, {(0, 9): "crash"})
    assert rank.exit_code == 9
    assert saved(folder).step == 6
    train(at(folder, resume="auto"))

    assert difference(saved(whole), saved(folder)) == ""


def test_two_ranks_stopped_and_resumed_equal_uninterrupted(
    whole_of_two: Path, tmp_path: Path
) -> None:
    """The law holds for two ranks, each with its own generators."""
    folder = tmp_path / "run"

    stopped = train_on_ranks(at(folder), 2, {(1, 6): "sigterm"})
    assert [rank.exit_code for rank in stopped] == [0, 0]
    assert saved(folder).step == 7
    train_on_ranks(at(folder, resume="auto"), 2)

    assert difference(saved(whole_of_two), saved(folder)) == ""


@pytest.mark.parametrize("ranks", [1, 2])
def test_it_holds_for_all_that_a_run_may_keep(tmp_path: Path, ranks: int) -> None:
    """A moving average, a scale of the loss and lost patience, none of them at its beginning."""
    config = Config()
    config = replace(config, toy=replace(config.toy, scaled=True))
    loop = {"eval_iter": 2, "patience": 20, "monitor": "draw", "total_iter": 24, "save_iter": 100}
    for name, plot in (("whole", {}), ("part", {(ranks - 1, 12): "sigterm"})):
        train_on_ranks(at(tmp_path / name, config, **loop), ranks, plot)
    stopped = saved(tmp_path / "part").trainer["state"]

    assert stopped["counters"]["step"] == 13
    assert stopped["counters"]["batch"] > 0
    assert stopped["counters"]["bad_evaluations"] > 0
    assert stopped["ema_updates"] == 13
    assert stopped["scaler"]["scale"] == 8.0 * 2**4
    train_on_ranks(at(tmp_path / "part", config, resume="auto", **loop), ranks)

    assert saved(tmp_path / "whole").step == 24
    assert difference(saved(tmp_path / "whole"), saved(tmp_path / "part")) == ""


def test_early_stopping_counters_survive(tmp_path: Path) -> None:
    """A run that is stopped and resumed runs out of patience at the step it would have."""
    loop = {"eval_iter": 2, "patience": 3, "monitor": "draw", "total_iter": 40}
    ends = []
    for name, plot in (("whole", {}), ("resumed", {(0, 5): "sigterm"})):
        train(at(tmp_path / name, **loop), plot)
        ends.append(train(at(tmp_path / name, resume="auto", **loop)).step)

    assert ends[0] == ends[1] < 40
    assert difference(saved(tmp_path / "whole"), saved(tmp_path / "resumed")) == ""


def test_worker_processes_change_nothing(whole: Path, tmp_path: Path) -> None:
    """Batches prepared by a worker process are the same, also across a resume."""
    config = Config()
    config = replace(config, loader=replace(config.loader, num_workers=1))
    folder = tmp_path / "run"

    train(at(folder, config), {(0, 2): "sigterm"})
    train(at(folder, config, resume="auto"))

    assert difference(saved(whole), saved(folder)) == ""


def test_evaluation_leaves_training_alone(whole: Path, tmp_path: Path) -> None:
    """How often a run is evaluated does not change the weights it ends with."""
    train(at(tmp_path / "run", eval_iter=2))

    assert difference(saved(whole).weights, saved(tmp_path / "run").weights) == ""


def test_another_seed_gives_another_run(whole: Path, tmp_path: Path) -> None:
    """The comparison of these tests can fail."""
    config = at(tmp_path / "run")

    train(replace(config, run=replace(config.run, seed=43)))

    assert difference(saved(whole), saved(tmp_path / "run"))
