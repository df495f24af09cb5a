"""Training and evaluating whole, on tiny data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from motion_data import on_ranks, small_config, write_data

from trainers.engine.errors import ConfigError, TrainerError
from trainers.rvq import evaluate as evaluating
from trainers.rvq.train import train


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [40, 10, 33, 64], "val": [21, 8, 30]})


def test_a_run_leaves_what_it_should(root, tmp_path, capsys):
    """Figures, statistics, data record, checkpoints."""
    config = small_config(tmp_path / "run", root)
    assert train(config) == 0

    out = tmp_path / "run"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [2, 4, 6]
    validation = [line for line in lines if line["split"] == "val"]
    assert {"loss", "l2", "mpjpe", "perplexity", "velocity_error"} <= validation[-1].keys()
    assert len(json.loads((out / "statistics.json").read_text())["mean"]) == 42
    about = json.loads((out / "data.json").read_text())
    assert about["train"]["clips"] == 4
    assert len(about["val"]["digest"]) == 16
    assert "4 clips, 147 frames" in capsys.readouterr().out


def test_changed_data_is_noticed_on_resume(root, tmp_path, capsys):
    """Who adds clips in the middle of a run is told."""
    config = small_config(tmp_path / "run", root)
    train(replace(config, loop=replace(config.loop, total_iter=3)))
    write_data(root, {"train/more": [20]})
    (root / "train/more/clip00").rename(root / "train/clip99")
    (root / "train/more").rmdir()
    train(replace(config, run=replace(config.run, resume="auto")))
    assert "train has changed since this run began: 4 clips of 147" in capsys.readouterr().out


def _train(world, config):
    """Train on a rank that `on_ranks` has started."""
    import os

    os.environ.update(RANK=str(world.rank), LOCAL_RANK=str(world.rank), WORLD_SIZE="2")
    from contextlib import contextmanager

    from trainers.engine import distributed

    @contextmanager
    def here():
        yield world

    distributed.world = here
    return train(config)


class Train:
    """One run; a value that reaches the processes."""

    def __init__(self, config):
        self.config = config

    def __call__(self, world):
        return _train(world, self.config)


@pytest.mark.parametrize("padded", [True, False])
def test_two_ranks_train_as_one_does(tmp_path, padded):
    """Each frame weighs the same, whichever rank it falls to, and however many are padding."""
    frames = [10, 3, 15, 16, 2, 16, 7, 9] if padded else [16] * 8
    root = write_data(tmp_path / "data", {"train": frames, "val": [21]})
    settings = {
        "loop": {"total_iter": 3, "eval_iter": 3, "print_iter": 1},
        "loss": {"loss_joints": 1.0},
    }
    one = small_config(tmp_path / "one", root, **settings)
    two = small_config(tmp_path / "two", root, **settings)
    train(replace(one, loop=replace(one.loop, batch_size=8)))
    assert on_ranks(2, Train(two), tmp_path / "meet") == [0, 0]

    names = ("loss", "recons", "velocity", "joints", "commit", "grad_norm")
    for a, b in zip(*(train_lines(tmp_path / name) for name in ("one", "two")), strict=True):
        assert [a[name] for name in names] == pytest.approx([b[name] for name in names], rel=2e-3)


def train_lines(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == "train"]


def test_joints_need_a_skeleton(root, tmp_path):
    """A weight that cannot act is refused."""
    (root / "skeleton.json").unlink()
    with pytest.raises(ConfigError, match=r"loss.loss_joints needs .* skeleton.json"):
        train(small_config(tmp_path / "run", root, loss={"loss_joints": 1.0}))


def test_the_built_in_data_trains(tmp_path):
    """Nothing to download: a smoke run on a few clips."""
    config = small_config(
        tmp_path / "run", "synthetic", dataset={"max_samples": 10}, loop={"total_iter": 3}
    )
    assert train(config) == 0


@pytest.mark.parametrize(
    "changes", [{}, {"optim": {"ema_decay": 0.5}}, {"quantizer": {"shared_codebook": True}}]
)
def test_evaluate_scores_a_run(root, tmp_path, capsys, changes):
    """Tables, JSON, and a file in the run's folder: the figures of the last evaluation."""
    out = tmp_path / "run"
    train(small_config(out, root, **changes))
    capsys.readouterr()

    assert evaluating.main(["--checkpoint", str(out / "checkpoints" / "last")]) == 0
    shown = capsys.readouterr().out
    for word in ("MPJPE, cm", "mean pose", "Hand_L", "codebook", "dead", "3 clips, 59 frames"):
        assert word in shown
    evaluating.main(["--checkpoint", str(out / "checkpoints" / "last"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "val"][-1]
    assert told["mpjpe"] == pytest.approx(last["mpjpe"], rel=1e-6)
    assert told["summary"]["loss"] == pytest.approx(last["loss"], rel=1e-6)
    assert told["mpjpe_mean_pose"] > 0
    assert len(told["dead_codes"]) == 3


def test_evaluate_on_other_data(root, tmp_path, capsys):
    """Another data set with the same joints will do, one with others is refused."""
    out = tmp_path / "run"
    train(small_config(out, root))
    other = write_data(tmp_path / "other", {"train": [12], "dev": [30, 20]})
    evaluating.main(["--checkpoint", str(out), "--split", "train"])
    of_train = json.loads((out / "evaluation-train.json").read_text())
    assert of_train["data"] == f"{root}/train"
    evaluating.main(["--checkpoint", str(out), "--data", str(other), "--json"])
    assert not (out / "evaluation.json").exists()  # which is of the run's own data
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["data"].endswith("other/dev")
    assert told["frames"] == 50
    six = write_data(tmp_path / "six", {"val": [30]}, joints=6, skeleton=None)
    with pytest.raises(TrainerError, match="gives 18 features a frame"):
        evaluating.evaluate(out, str(six))
    with pytest.raises(TrainerError, match="has no split test"):
        evaluating.evaluate(out, None, "test")
