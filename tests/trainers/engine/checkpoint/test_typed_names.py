"""Names of checkpoints as other programs give them find ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import at, train

from trainers.engine.checkpoint import files
from trainers.engine.errors import TrainerError


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 2, 4, 5 and 6: two steps are an epoch."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train(at(folder, total_iter=6, save_iter=5, save_epochs=1, eval_iter=4))
    files.link("best", folder / "checkpoints" / "step-00000004")
    return folder


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("best_model.pth", 4),
        ("best.pt", 4),
        ("last_model.pth", 6),
        ("epoch_1.pth", 2),
        ("checkpoint_epoch_3.pth", 6),
        ("checkpoint_step_5.pt", 5),
        ("final_step_6.pt", 6),
    ],
)
def test_a_typed_name_finds_its_checkpoint(run: Path, name: str, step: int) -> None:
    """In the run's folder, or in that of its checkpoints."""
    assert files.step_of(files.find(run / name)) == step
    assert files.step_of(files.find(run / "checkpoints" / name)) == step


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("epoch_7.pth", "no checkpoint of epoch 7", "it holds those of epoch 1, 2, 3"),
        ("final_step_9.pt", "no checkpoint of step 9", "it holds those of step 2, 4, 5, 6"),
    ],
)
def test_one_that_is_not_there_is_named(run: Path, name: str, sentence: str, hint: str) -> None:
    """With those that are."""
    with pytest.raises(TrainerError, match=sentence) as caught:
        files.find(run / name)

    assert caught.value.hint == hint


def test_a_run_goes_on_from_a_typed_name(run: Path, tmp_path: Path) -> None:
    """As --resume takes it."""
    wanted = str(run / "checkpoints" / "checkpoint_epoch_2.pth")

    assert train(at(tmp_path / "other", resume=wanted, total_iter=5)).step == 5


def test_a_folder_without_checkpoints_is_named(tmp_path: Path) -> None:
    """In a sentence."""
    with pytest.raises(TrainerError, match="there is no whole checkpoint in"):
        files.find(tmp_path / "best_model.pth")
