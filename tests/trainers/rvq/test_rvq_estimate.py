"""What training is said to need, against what torch's allocator gave out while it ran."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from allocated import peak_bytes
from motion_data import small_config, write_data

from trainers.engine.errors import ConfigError, TrainerError
from trainers.engine.memory.rehearsal import Question, need
from trainers.rvq.estimate import data_shapes, estimate, rehearsal
from trainers.rvq.train import train

ON_CPU = Question(on_gpu=False)
SMALL = {
    "dataset": {"window_size": 64, "window_stride": 64},
    "model": {"width": 64, "code_dim": 32, "depth": 1},
    "quantizer": {"nb_code": 64},
    "loop": {"total_iter": 3, "batch_size": 32, "eval_iter": 3, "save_iter": 3},
}


def config_of(out, data, **changes):
    merged = {name: {**SMALL.get(name, {}), **changes.get(name, {})} for name in SMALL | changes}
    return small_config(out, data, **merged)


def told(config, asked=ON_CPU):
    """What the configured batch is said to need."""
    stage = rehearsal(config, data_shapes(config.dataset), asked.ranks)
    return need(
        lambda: stage(config.loop.batch_size), loop=config.loop, optim=config.optim, asked=asked
    )


def first(said):
    """The same, of an answer."""
    return next(one for one in said["needs"] if one["size"] == said["size"])


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [128] * 20, "val": [40, 33]})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"dataset": {"window_size": 62}}, marks=pytest.mark.long),
        pytest.param({"model": {"width": 160}}, marks=pytest.mark.long),
        {"loop": {"gradient_checkpointing": True, "batch_size": 128}, "model": {"dropout": 0.3}},
        {"loop": {"mixed_precision": "bf16"}},
        {"loop": {"accumulate": 2}, "optim": {"ema_decay": 0.9}},
        {"dataset": {"multi_length_training": (0.5, 1.0)}, "loop": {"total_iter": 6}},
        pytest.param(
            {"loss": {"loss_joints": 1.0}, "dataset": {"rotation": "6d"}}, marks=pytest.mark.long
        ),
        pytest.param(
            {"quantizer": {"sample_temperature": 0.5, "num_quantizers": 5}}, marks=pytest.mark.long
        ),
    ],
    ids=str,
)
def test_training_takes_what_it_is_said_to(root, tmp_path, changes):
    """The whole of `train`, within 7 %: a convolution's backward pass copies what it works on."""
    config = config_of(tmp_path / "run", root, **changes)
    said = told(config)

    real = peak_bytes(lambda: train(config))

    # Batches come from numpy, whose memory is not torch's.
    assert real == pytest.approx(said.peak_bytes - said.parts["batch"], rel=0.07)


def test_padded_windows_take_more(tmp_path):
    """Masked copies are kept beside what they are copies of, and that is counted."""
    data = write_data(tmp_path / "data", {"train": [61] * 40, "val": [40]})
    config = config_of(tmp_path / "run", data)
    said = told(config)
    whole = write_data(tmp_path / "whole", {"train": [64] * 40, "val": [40]})

    real = peak_bytes(lambda: train(config))

    assert real == pytest.approx(said.peak_bytes - said.parts["batch"], rel=0.07)
    assert said.peak_bytes > 1.05 * told(config_of(tmp_path / "run", whole)).peak_bytes


def test_what_saves_memory_shows(tmp_path):
    """Checkpointing and bfloat16 take less, two ranks more than one, a GPU's dropout less."""
    config = config_of(tmp_path, "synthetic", model={"dropout": 0.2})
    loop = config.loop

    def peak(question=ON_CPU, **changes):
        return told(replace(config, loop=replace(loop, **changes)), question).peak_bytes

    plain = peak()
    assert peak(gradient_checkpointing=True) < 0.9 * plain
    assert peak(mixed_precision="bf16") < 0.95 * plain
    assert peak(replace(ON_CPU, ranks=2)) > plain
    assert peak(Question()) < plain


def test_the_built_in_data_need_no_files(tmp_path):
    """52 joints of three values."""
    said = estimate(config_of(tmp_path, "synthetic"), ON_CPU)

    assert said["batch"] == "32 windows of 64 frames, 156 features each"
    assert said["assumed"] == ""
    assert said["setting"] == "batch_size"
    assert said["size"] == 32
    assert said["needs"][0]["parts"]["batch"] == 32 * 64 * 156 * 4


def test_a_data_set_that_is_not_here_is_assumed(tmp_path):
    """On a laptop: the body of SMPL-H, windows with padding; and it says so."""
    config = config_of(tmp_path, "nowhere")
    shapes = data_shapes(config.dataset)

    assert "no data set nowhere here" in shapes.assumed
    assert "52 joints" in shapes.assumed
    assert shapes.features(config.dataset) == 156
    assert shapes.skeleton is not None
    assert told(config).peak_bytes > told(config_of(tmp_path, "synthetic")).peak_bytes


def test_a_data_set_is_looked_at_and_not_read(tmp_path):
    """Features by its skeleton, lengths by the sizes of its files: values may be anything."""
    data = write_data(tmp_path / "data", {"train": [70, 64, 63], "val": [40]})
    clip = data / "train" / "clip00" / "pose.npy"
    clip.write_bytes(clip.read_bytes()[:-40] + b"\xff" * 40)
    config = config_of(tmp_path, data)

    shapes = data_shapes(config.dataset)

    assert shapes.features(config.dataset) == 42
    assert shapes.windows == {64: True}
    assert data_shapes(replace(config.dataset, max_samples=2)).windows == {64: False}
    lengths = [len(np.load(path)) for path in sorted(data.glob("train/*/pose.npy"))]
    assert lengths == [70, 64, 63]


def test_a_data_set_that_cannot_be_trained_on_is_refused(tmp_path):
    """In the words of training."""
    (tmp_path / "data" / "val").mkdir(parents=True)

    with pytest.raises(TrainerError, match="no split train"):
        data_shapes(config_of(tmp_path, tmp_path / "data").dataset)


def test_joints_without_a_skeleton_are_refused(tmp_path):
    """As in training."""
    data = write_data(tmp_path / "data", {"train": [64]}, skeleton=None)

    with pytest.raises(ConfigError, match=r"skeleton\.json"):
        estimate(config_of(tmp_path, data, loss={"loss_joints": 1.0}), ON_CPU)


def test_the_worst_of_several_lengths_counts(tmp_path):
    """The longest window; with a number of frames, whichever holds the most of them."""
    lengths = {"multi_length_training": (0.5, 1.0, 1.5)}
    config = config_of(tmp_path, "synthetic", dataset=lengths)
    by_frames = config_of(tmp_path, "synthetic", dataset={**lengths, "frames_per_batch": 1024})

    framed = estimate(by_frames, ON_CPU)

    assert told(config).parts["batch"] == 32 * 96 * 156 * 4
    assert framed["setting"] == "frames_per_batch"
    assert framed["size"] == 1024
    assert first(framed)["parts"]["batch"] == 1024 * 156 * 4  # 32 of 32, or 16 of 64: not 10 of 96


def test_a_global_batch_is_dealt_out(tmp_path):
    """What counts is what one rank has in one pass."""
    config = config_of(tmp_path, "synthetic", loop={"global_batch": 100, "batch_size": 32})

    said = estimate(config, replace(ON_CPU, ranks=2))

    assert said["passes"] == 2
    assert said["size"] == 25
    assert said["batch"].startswith("25 windows")
