"""Checkpoints appear at once or not at all, are known when broken, and lead back into a run."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from saved import saved
from toy import Toy, at, train, train_on_ranks

from trainers.engine.checkpoint import checkpoint, files
from trainers.engine.errors import TrainerError


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints of steps 3, 6, 9."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train(at(folder, total_iter=9, save_iter=3, eval_iter=9))
    return folder


def copy_of(run: Path, to: Path) -> Path:
    """The run's checkpoints, to be damaged."""
    import shutil

    shutil.copytree(run, to / "run", symlinks=True)
    return to / "run" / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_checkpoint_holds(run: Path) -> None:
    """Bare names in safetensors, a description that anybody can read."""
    about = files.describe(run / "checkpoints" / "last")
    weights = saved(run).weights

    assert (about["step"], about["trainer"], about["world_size"]) == (9, "toy", 1)
    assert about["config"]["loop"]["total_iter"] == 9
    assert set(about["files"]) == {"model.safetensors", "ema.safetensors", "trainer.pt"}
    assert {"inner.weight", "frozen.bias", "average", "updates"} <= set(weights)
    modes = {path.stat().st_mode for path in (run / "checkpoints" / "last").iterdir()}
    assert len(modes) == 1
    assert about["metrics"].keys() == {"loss", "draw"}
    assert weights["updates"] == 9


def test_links_and_pruning(tmp_path: Path) -> None:
    """The newest K and the best stay; last and best point at them."""
    # The draw of the first evaluation is as good as any: nothing after it may replace it.
    train(at(tmp_path / "run", total_iter=12, save_iter=1, eval_iter=2, keep=2, monitor="draw"))
    folder = tmp_path / "run" / "checkpoints"
    best = files.describe(folder / "last")["best"]["step"]

    assert (folder / "last").resolve().name == "step-00000012"
    assert (folder / "best").resolve().name == files.name_of(best)
    kept = {"step-00000011", "step-00000012", files.name_of(best)}
    assert set(names(folder)) == kept | {"last", "best"}
    assert files.find(tmp_path / "run").name == files.name_of(best)
    assert files.find(tmp_path / "run", prefer="last").name == "step-00000012"


@pytest.mark.parametrize("limit", [1000, 5000])
def test_disk_full_while_saving(tmp_path: Path, limit: int) -> None:
    """The last good checkpoint stays, nothing half-written does, one sentence says so."""
    config = at(tmp_path / "run", save_iter=6, eval_iter=100)

    (rank,) = train_on_ranks(config, 1, {(0, 10): f"full disk {limit}"})

    folder = tmp_path / "run" / "checkpoints"
    assert rank.exit_code == 1
    assert "Traceback" not in rank.stderr
    assert rank.stderr.startswith("error: the checkpoint of step 12 could not be saved in")
    assert "File too large" in rank.stderr
    assert "hint: The last good one is step-00000006; make room" in rank.stderr
    assert names(folder) == ["last", "step-00000006"]
    assert files.validate(folder / "step-00000006") is None


def test_disk_full_on_one_of_two_ranks_ends_both(tmp_path: Path) -> None:
    """Rank 0 alone writes, and rank 1 does not wait for it for ever."""
    config = at(tmp_path / "run", save_iter=6, eval_iter=100)

    first, second = train_on_ranks(config, 2, {(0, 2): "full disk 1000"})

    assert (first.exit_code, second.exit_code) == (1, 1)
    assert "the checkpoint of step 6 could not be saved" in first.stderr
    assert second.stderr == first.stderr.replace("error:", "error (rank 1):", 1)
    assert names(tmp_path / "run" / "checkpoints") == []


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    """Whatever goes wrong inside, there is the old checkpoint or the new, never half of one."""
    target = tmp_path / "step-00000001"
    with files.appearing(target, {"step": 1}) as folder:
        (folder / "a.bin").write_bytes(b"first")

    def fail() -> None:
        with files.appearing(target, {"step": 1}) as folder:
            (folder / "a.bin").write_bytes(b"second")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()

    assert names(tmp_path) == ["step-00000001"]
    assert files.validate(target) is None
    assert (target / "a.bin").read_bytes() == b"first"


def test_what_an_interrupted_save_left_is_swept(tmp_path: Path) -> None:
    """A process killed while saving leaves a folder that the next save removes."""
    left = tmp_path / "run" / "checkpoints" / ".unfinished-step-00000001"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")

    train(at(tmp_path / "run", total_iter=2))

    assert not left.exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: (p / "model.safetensors").write_bytes(b"x"), "model.safetensors has 1 bytes"),
        (lambda p: (p / "trainer.pt").unlink(), "trainer.pt is missing"),
        (lambda p: (p / "checkpoint.json").unlink(), "it has no checkpoint.json"),
        (lambda p: (p / "checkpoint.json").write_text('{"fi'), "checkpoint.json is damaged"),
        (lambda p: (p / "checkpoint.json").write_text("[]"), "checkpoint.json is damaged"),
        (lambda p: (p / "checkpoint.json").write_text("[" * 100_000), "checkpoint.json is damaged"),
        (
            lambda p: (p / "checkpoint.json").write_text(
                '{"files": {"\\u0000": {"bytes": 1, "crc32": 1}}}'
            ),
            "\0 is missing",
        ),
        (lambda p: flip_a_bit(p / "trainer.pt"), "trainer.pt is damaged (its checksum differs)"),
    ],
)
def test_validate_names_what_is_broken(run: Path, tmp_path: Path, damage, reason: str) -> None:
    """A short, missing or altered file is named with the reason."""
    last = copy_of(run, tmp_path) / "step-00000009"

    damage(last)

    assert (files.validate(last) or "").startswith(reason)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_auto_takes_the_one_before_a_broken_one_and_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated checkpoint is passed over aloud, and replaced when its step comes again."""
    folder = copy_of(run, tmp_path)
    truncate(folder / "step-00000009" / "model.safetensors")

    train(at(folder.parent, resume="auto", total_iter=9, save_iter=3, eval_iter=9))

    said = capsys.readouterr().out
    assert "warning: the checkpoint" in said
    assert "step-00000009 is not used: model.safetensors has" in said
    assert "resumed from" in said
    assert "step-00000006 at step 6" in said
    assert files.validate(folder / "step-00000009") is None


def test_where_all_are_broken_nothing_is_begun_anew(run: Path, tmp_path: Path) -> None:
    """Starting over silently would bury the run."""
    folder = copy_of(run, tmp_path)
    for path in files.all_in(folder):
        truncate(path / "trainer.pt")

    with pytest.raises(TrainerError, match=r"none of the checkpoints in .* is whole"):
        train(at(folder.parent, resume="auto"))


def test_a_broken_one_that_is_named_is_refused(run: Path, tmp_path: Path) -> None:
    """Who names a checkpoint gets that one or none; the hint says which is whole."""
    folder = copy_of(run, tmp_path)
    truncate(folder / "step-00000009" / "trainer.pt")

    with pytest.raises(TrainerError, match=r"trainer\.pt has .* bytes instead of") as caught:
        train(at(tmp_path / "other", resume=str(folder / "step-00000009")))

    assert "step-00000006 is whole" in caught.value.hint


def test_auto_begins_where_there_is_nothing(tmp_path: Path) -> None:
    """The same command line starts a run and goes on with it."""
    assert train(at(tmp_path / "run", resume="auto", total_iter=2)).step == 2


def test_a_fresh_run_does_not_mix_with_an_old_one(run: Path) -> None:
    """Without --resume, a folder with checkpoints is left alone."""
    before = names(run / "checkpoints")

    with pytest.raises(TrainerError, match="holds the checkpoints of an earlier run") as caught:
        train(at(run))

    assert "--resume auto" in caught.value.hint
    assert names(run / "checkpoints") == before


def test_going_back_sets_later_checkpoints_aside(run: Path, tmp_path: Path) -> None:
    """A run resumed from an earlier step is not overtaken by the future it left."""
    folder = copy_of(run, tmp_path)

    train(at(folder.parent, resume=str(folder / "step-00000003"), total_iter=5, eval_iter=9))

    assert (folder / "last").resolve().name == "step-00000005"
    assert files.newest_valid(folder)[0] == folder / "step-00000005"
    assert "aside-step-00000009" in names(folder)


def test_going_back_finds_the_best_of_then(run: Path, tmp_path: Path) -> None:
    """A best that is of the future, and damaged, hands back to the best before it."""
    folder = copy_of(run, tmp_path)
    files.link("best", folder / "step-00000009")

    aside = files.go_back(folder, 6, 3)

    assert [path.name for path in aside] == ["aside-step-00000009"]
    assert (folder / "best").resolve() == folder.resolve() / "step-00000003"
    assert (folder / "last").resolve() == folder.resolve() / "step-00000006"
    files.prune(folder, keep=1)
    assert [path.name for path in files.all_in(folder)] == [
        "step-00000003",
        "step-00000006",
    ]
    files.go_back(folder, 6, None)
    assert not (folder / "best").is_symlink()


def test_another_model_is_refused_in_a_sentence(run: Path) -> None:
    """Weights that do not fit are no traceback."""
    with pytest.raises(TrainerError, match="is of another model than the settings describe"):
        checkpoint.load_model(torch.nn.Linear(3, 3), run / "checkpoints" / "last")


def test_weights_and_their_average_load_apart(run: Path) -> None:
    """Evaluation picks either; what it gets is what was saved, and the settings with it."""
    model, average = Toy(0.0), Toy(0.0)

    about = checkpoint.load_model(model, run / "checkpoints" / "last")
    checkpoint.load_model(average, run / "checkpoints" / "last", ema=True)

    assert about["config"]["toy"]["dropout"] == 0.3
    assert torch.equal(model.inner.weight, saved(run).weights["inner.weight"])
    assert torch.equal(average.inner.weight, saved(run).ema["inner.weight"])
    assert not torch.equal(model.inner.weight, average.inner.weight)


def test_what_changed_is_said_and_counts(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resumed run with another lr says so and uses it."""
    from dataclasses import replace

    folder = copy_of(run, tmp_path)
    config = at(folder.parent, resume="auto", total_iter=12, print_iter=1)

    train(replace(config, optim=replace(config.optim, lr=0.5)))

    assert "optim.lr: 0.01 -> 0.5" in capsys.readouterr().out
    lines = (folder.parent / "metrics.jsonl").read_text().splitlines()
    # Milestones 6 and 10 are behind: 0.5 x 0.25.
    assert [json.loads(line)["lr"] for line in lines if '"train"' in line][-1] == 0.125


def test_another_number_of_ranks_goes_on(run: Path, tmp_path: Path) -> None:
    """Saved by one rank, resumed by two: it trains on, and says what it cannot promise."""
    folder = copy_of(run, tmp_path)

    ranks = train_on_ranks(at(folder.parent, resume="auto", total_iter=11), 2)

    assert [rank.exit_code for rank in ranks] == [0, 0]
    assert "world_size was 1 and is 2" in ranks[0].stdout
    assert saved(folder.parent).step == 11


def test_trainer_pt_is_loaded_without_unpickling(run: Path) -> None:
    """A checkpoint from elsewhere cannot run code: plain values are all it may hold."""
    loaded = torch.load(run / "checkpoints" / "last" / "trainer.pt", weights_only=True)

    assert loaded.keys() == {"state", "rng"}


@pytest.mark.parametrize("name", ["/dev/zero", "../other/model.safetensors"])
def test_a_listed_file_outside_the_folder_is_not_read(tmp_path, name):
    """A device would never end, and another folder's file is not part of the checkpoint."""
    (tmp_path / "checkpoint.json").write_text(
        json.dumps({"files": {name: {"bytes": 0, "crc32": 0}}})
    )

    assert files.validate(tmp_path) == "checkpoint.json is damaged"


@pytest.mark.parametrize("name", ["checkpoint.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, name, kind):
    """Neither would ever end."""
    (tmp_path / "checkpoint.json").write_text(
        json.dumps({"files": {"model.safetensors": {"bytes": 0, "crc32": 0}}})
    )
    (tmp_path / name).unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")

    assert files.validate(tmp_path) == f"{name} cannot be read (it is not a regular file)"
