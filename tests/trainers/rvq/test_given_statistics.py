"""Statistics that are given instead of computed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from motion_data import small_config, write_data

from trainers.engine.config.config import resolve
from trainers.engine.errors import TrainerError
from trainers.engine.statistics import read_statistics
from trainers.rvq.check import check
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import open_data
from trainers.rvq.train import train


@pytest.fixture(name="pair")
def _pair(tmp_path):
    """Writes a pair of .npy files of some width, gives back that of the mean."""

    def pair(width, mean=0.5, std=2.0):
        for name, value in (("mean", mean), ("std", std)):
            np.save(tmp_path / f"seamless_smplh_{name}.npy", np.full(width, value, np.float32))
        return tmp_path / "seamless_smplh_mean.npy"

    return pair


def test_a_pair_of_arrays_or_a_json_is_read(pair, tmp_path):
    """Either file names the pair; a run's own statistics.json will do."""
    again = tmp_path / "statistics.json"
    again.write_text(json.dumps({"mean": [0.5] * 6, "std": [2.0] * 6, "baseline": [1.0] * 6}))
    for path in (pair(6), tmp_path / "seamless_smplh_std.npy", again):
        mean, std = read_statistics(path, 6, 0.01)
        np.testing.assert_array_equal(mean, np.full(6, 0.5, np.float32))
        np.testing.assert_array_equal(std, np.full(6, 2.0, np.float32))


def test_the_floor_holds_for_them_too(pair):
    """Nothing is divided by nearly nothing."""
    _, std = read_statistics(pair(6, std=1e-9), 6, 0.01)
    np.testing.assert_array_equal(std, np.full(6, 0.01, np.float32))


def test_statistics_of_another_width_are_refused(pair):
    """330 values do not become 156 by leaving some out."""
    with pytest.raises(
        TrainerError, match="the mean has 330 values, the data has 156 features a frame"
    ):
        read_statistics(pair(330), 156, 0.01)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"mean": [0, 1]}', "holds no statistics"),
        ("[1, 2]", "holds no statistics"),
        ('{"mean": [0, "x"], "std": [1, 1]}', "holds no statistics"),
        ('{"mean": [0, NaN], "std": [1, 1]}', "the mean holds a value that is not finite"),
        ('{"mean": [0, 1], "std": [1, -1]}', "the std holds a value below 0"),
        ('{"mean": [[0, 1]], "std": [1, 1]}', r"the mean has shape \(1, 2\)"),
        ("no json", "is damaged: it is not JSON"),
    ],
)
def test_what_is_no_statistics_is_refused(tmp_path, content, sentence):
    """With the file's name."""
    path = tmp_path / "statistics.json"
    path.write_text(content)
    with pytest.raises(TrainerError, match=sentence) as caught:
        read_statistics(path, 2, 0.01)
    assert str(path) in caught.value.message


def test_files_that_cannot_be_read_are_named(pair, tmp_path):
    """A missing half, a pickle, another kind of file."""
    path = pair(6)
    np.save(tmp_path / "seamless_smplh_std.npy", np.array([{}], dtype=object))
    with pytest.raises(TrainerError, match=r"smplh_std.npy cannot be read: it holds pickled"):
        read_statistics(path, 6, 0.01)
    (tmp_path / "seamless_smplh_std.npy").unlink()
    with pytest.raises(TrainerError, match=r"smplh_std.npy cannot be read: No such file"):
        read_statistics(path, 6, 0.01)
    with pytest.raises(TrainerError, match=r"values.npy cannot be used as statistics"):
        read_statistics(tmp_path / "values.npy", 6, 0.01)


def test_training_normalises_by_them(pair, tmp_path):
    """They lie with the run, as those that are computed do; the mean pose is the clips' own."""
    root = write_data(tmp_path / "data", {"train": [40, 33], "val": [21]})
    config = small_config(tmp_path / "run", root, loop={"total_iter": 1})
    config = replace(config, dataset=replace(config.dataset, statistics=pair(42)))
    assert 0 == train(config)
    saved = json.loads((tmp_path / "run" / "statistics.json").read_text())
    assert saved["std"] == [2.0] * 42
    plain = open_data(config.dataset, "train")
    np.testing.assert_array_equal(saved["baseline"], plain.statistics(0.01).mean.tolist())


def test_the_check_tells_before_training(pair, tmp_path):
    """Features are those of the data set's rotation."""
    root = write_data(tmp_path / "data", {"train": [9], "val": [9]})

    def found(*flags):
        argv = ["--data", str(root), "--out-dir", str(tmp_path / "run"), *map(str, flags)]
        findings = check(resolve(Config, argv, name="rvq", presets=PRESETS))
        return [(one.severity, one.summary) for one in findings if one.check == "statistics"]

    path = pair(42)
    assert [("ok", f"{path} has statistics of 42 features")] == found("--statistics", path)
    ((severity, summary),) = found("--statistics", path, "--rotation", "axis_angle")
    assert severity == "error"
    assert "has 42 values, the data has 21 features" in summary
